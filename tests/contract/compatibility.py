"""Finds what in a new document breaks a client that was written for an old one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]
LIMITS: dict[str, Callable[[float, float], bool]] = {  # whether the narrow limit is within the wide one
    "minimum": lambda narrow, wide: narrow >= wide,
    "exclusiveMinimum": lambda narrow, wide: narrow >= wide,
    "minLength": lambda narrow, wide: narrow >= wide,
    "maximum": lambda narrow, wide: narrow <= wide,
    "exclusiveMaximum": lambda narrow, wide: narrow <= wide,
    "maxLength": lambda narrow, wide: narrow <= wide,
}


@dataclass(frozen=True)
class Fit:
    """Compares the schemas of two documents: `wide` must allow everything that `narrow` allows."""

    narrow: Node  # documents
    wide: Node
    read: bool  # clients read the message, and ignore fields that they do not know

    def faults(self, narrow: Node, wide: Node, path: str) -> Iterator[str]:
        choices = list(_choices(self.wide, wide))
        for one in _choices(self.narrow, narrow):
            faults_of_choices = [list(self._one(one, other, path)) for other in choices]
            if [] not in faults_of_choices:
                yield from min(faults_of_choices, key=len)

    def _one(self, narrow: Node, wide: Node, path: str) -> Iterator[str]:
        kinds = narrow.get("type"), wide.get("type")
        if kinds[0] != kinds[1] and kinds != ("integer", "number"):
            yield f"{path} is {kinds[0]}, not {kinds[1]}"
            return
        yield from self._words(narrow, wide, path)
        if wide.get("type") == "object":
            yield from self._object(narrow, wide, path)
        if "items" in wide:
            yield from self.faults(narrow.get("items", {}), wide["items"], f"{path}[]")

    def _words(self, narrow: Node, wide: Node, path: str) -> Iterator[str]:
        if (allowed := _values(wide)) is not None:
            more = set(_values(narrow) or {"anything"}) - set(allowed)
            if more:
                yield f"{path} may be {', '.join(sorted(map(str, more)))}"
        for key in ("pattern", "format"):
            if key in wide and wide[key] != narrow.get(key):
                yield f"{path} has another {key}"
        for key, within in LIMITS.items():
            if key in wide and (key not in narrow or not within(narrow[key], wide[key])):
                yield f"{path} has another {key}"

    def _object(self, narrow: Node, wide: Node, path: str) -> Iterator[str]:
        for name in sorted({*wide.get("required", ())} - {*narrow.get("required", ())}):
            yield f"{path}.{name} must be there"
        inner, outer = narrow.get("properties", {}), wide.get("properties", {})
        if wide.get("additionalProperties") is False and not self.read:
            for name in sorted(set(inner) - set(outer)):
                yield f"{path}.{name} is refused"
        for name in sorted(set(inner) & set(outer)):
            yield from self.faults(inner[name], outer[name], f"{path}.{name}")


def breaks(old: Node, new: Node) -> list[str]:
    """What a client of the old document can no longer do or understand, a sentence each."""
    problems = []
    for name, operation in old["operations"].items():
        if name not in new["operations"]:
            problems.append(f"{name} is gone")
        else:
            problems += _operation(old, new, name, operation, new["operations"][name])
    return problems + list(_buckets(old["x-nats"]["objectStoreBuckets"], new["x-nats"]["objectStoreBuckets"]))


def _buckets(old: Node, new: Node) -> Iterator[str]:
    for name, bucket in old.items():
        if new.get(name, {}).get("bucket") != bucket["bucket"]:
            yield f"the bucket {bucket['bucket']} is gone"


def _operation(old: Node, new: Node, name: str, before: Node, after: Node) -> Iterator[str]:
    channels = _follow(old, before["channel"]), _follow(new, after["channel"])
    for key in ("address", "x-nats"):
        values = [_stream(channel) if key == "x-nats" else channel[key] for channel in channels]
        if values[0] != values[1]:
            yield f"{name} is on {values[1]}, not on {values[0]}"
    if not _appended_elsewhere(channels[0]) and _appended_elsewhere(channels[1]):
        yield f"{name} needs the name of its stream"
    for parameter in channels[0].get("parameters", {}):
        words = [set(document["components"]["parameters"][parameter].get("enum", ())) for document in (old, new)]
        if gone := words[0] - words[1]:
            yield f"{name} has no {parameter} {', '.join(sorted(gone))}"
    if before["action"] == "receive":  # the service must accept what a client may send
        yield from _fits(Fit(old, new, read=False), before, after, name)
    else:  # a client must know what the service sends
        yield from _fits(Fit(new, old, read=True), after, before, name)
    if "reply" in before:
        yield from _fits(
            Fit(new, old, read=True), after.get("reply", {"messages": []}), before["reply"], f"{name}'s reply"
        )


def _stream(channel: Node) -> tuple[str | None, list[str]]:
    facts = channel.get("x-nats", {})
    return facts.get("stream"), facts.get("subjects", [])


def _appended_elsewhere(channel: Node) -> bool:
    """Whether the service appends on other subjects, so that no stream is found by the channel's own."""
    return "appendedOn" in channel.get("x-nats", {})


def _fits(fit: Fit, narrow: Node, wide: Node, where: str) -> Iterator[str]:
    wide_messages = {
        reference["$ref"].rpartition("/")[2]: _message(fit.wide, reference) for reference in wide["messages"]
    }
    for reference in narrow["messages"]:
        name, message = reference["$ref"].rpartition("/")[2], _message(fit.narrow, reference)
        if name not in wide_messages:
            yield f"{where} has a message {name}"
            continue
        if message["contentType"] != wide_messages[name]["contentType"]:
            yield f"{where} {name} is {message['contentType']}"
        for part in ("payload", "headers"):
            yield from fit.faults(message[part], wide_messages[name][part], f"{where} {name} {part}")


def _message(document: Node, reference: Node) -> Node:
    return _follow(document, _follow(document, reference))


def _follow(document: Node, reference: Node) -> Node:
    node = document
    for part in reference["$ref"].removeprefix("#/").split("/"):
        node = node[part]
    return node


def _choices(document: Node, schema: Node) -> Iterator[Node]:
    if "$ref" in schema:
        yield from _choices(document, _follow(document, schema))
    elif "anyOf" in schema:
        for choice in schema["anyOf"]:
            yield from _choices(document, choice)
    else:
        yield schema


def _values(schema: Node) -> list[object] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")
