"""Puts the parts of the AsyncAPI document into the order in which a client reads them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Node = dict[str, Any]
"""A part of the AsyncAPI document: a JSON object as AsyncAPI 3 defines it."""

_INSIDE: Final = "inside"  # the tag of what only workers use
_SMALL: Final = 2  # a request with so few fields is shown wherever it is used; a larger message is shown once
_SCHEMAS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an operation.

    `schema` is the name of the payload's schema; empty if the payload has none. `is_home`: links to the schema lead to
    this message. `is_whole`: the page shows the fields and examples at this message.
    """

    node: Node
    schema: str
    payload: Node
    headers: Node
    is_home: bool
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client can do on one channel: `role` says whether it sends, receives or asks there."""

    name: str
    role: str
    title: str
    summary: str
    channel: Node
    parameters: dict[str, Node]
    messages: list[Message]
    replies: list[Message]


@dataclass(frozen=True, slots=True)
class Group:
    """The operations of one purpose: those with one tag."""

    name: str
    title: str
    operations: list[Operation]


@dataclass(frozen=True, slots=True)
class Contract:
    """The AsyncAPI document as its page shows it.

    `types` are the schemas that are no message; `headers` has the names of the schemas of headers. A schema that one
    field alone uses is in `explained`: the page explains it at that field. What only workers use is in `inside` and
    `inside_types`.
    """

    groups: list[Group]
    inside: list[Group]
    types: dict[str, Node]
    inside_types: dict[str, Node]
    explained: dict[str, Node]
    headers: set[str]


def read(document: Node) -> Contract:
    """Arrange the parts of the AsyncAPI document as its page shows them."""
    schemas: dict[str, Node] = document["components"]["schemas"]
    shown: set[str] = set()
    groups = [_group(document, tag, shown) for tag in document["info"]["tags"]]
    public = [group for group in groups if group.name != _INSIDE]
    uses = Counter(name for schema in schemas.values() for name in references(schema))
    explained = {name: schema for name, schema in schemas.items() if name not in shown and uses[name] == 1}
    types = {name: schema for name, schema in schemas.items() if name not in shown and name not in explained}
    known = _reachable(schemas, public)
    return Contract(
        groups=public,
        inside=[group for group in groups if group.name == _INSIDE],
        types={name: schema for name, schema in types.items() if name in known},
        inside_types={name: schema for name, schema in types.items() if name not in known},
        explained=explained,
        headers={name_of(message["headers"]) for message in document["components"]["messages"].values()},
    )


def follow(document: Node, node: Node) -> Node:
    """Return what a node refers to, or the node itself if it is no reference."""
    while "$ref" in node:
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


def name_of(node: Node) -> str:
    """Return the name of the schema that a node refers to; empty if it refers to none."""
    reference = str(node.get("$ref", ""))
    return reference.removeprefix(_SCHEMAS) if reference.startswith(_SCHEMAS) else ""


def references(node: object) -> Iterator[str]:
    """Yield the name of each schema that a node refers to, once for each reference."""
    if isinstance(node, dict):
        if name := name_of(node):
            yield name
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def _group(document: Node, tag: Node, shown: set[str]) -> Group:
    operations = [
        _operation(document, name, node, shown)
        for name, node in document["operations"].items()
        if tag["name"] in _tags(node)
    ]
    return Group(tag["name"], tag["description"].removesuffix("."), operations)


def _operation(document: Node, name: str, node: Node, shown: set[str]) -> Operation:
    channel = follow(document, node["channel"])
    reply = node.get("reply", {"messages": []})
    return Operation(
        name=name,
        role=_role(node),
        title=node["title"],
        summary=node["summary"],
        channel=channel,
        parameters={key: follow(document, each) for key, each in channel.get("parameters", {}).items()},
        messages=[_message(document, each, shown, is_reply=False) for each in node["messages"]],
        replies=[_message(document, each, shown, is_reply=True) for each in reply["messages"]],
    )


def _tags(operation: Node) -> set[str]:
    return {tag["name"] for tag in operation["tags"]}


def _role(operation: Node) -> str:
    """Return what a client does on a channel; the AsyncAPI document says what the service does there."""
    if _INSIDE in _tags(operation):
        return "Workers only"
    if operation["action"] == "send":
        return "You receive"
    return "You ask" if "reply" in operation else "You publish"


def _message(document: Node, reference: Node, shown: set[str], *, is_reply: bool) -> Message:
    node = follow(document, reference)
    schema = name_of(node["payload"])
    payload = follow(document, node["payload"])
    is_home = bool(schema) and schema not in shown
    shown.add(schema)
    is_small = not is_reply and len(payload.get("properties", {})) <= _SMALL
    return Message(
        node=node,
        schema=schema,
        payload=payload,
        headers=node["headers"],
        is_home=is_home,
        is_whole=is_home or not schema or is_small,
    )


def _reachable(schemas: dict[str, Node], groups: list[Group]) -> set[str]:
    """Return the names of the schemas that payloads and headers of these groups use, directly or through others."""
    messages = [each for group in groups for operation in group.operations for each in operation.messages]
    messages += [each for group in groups for operation in group.operations for each in operation.replies]
    waiting = [name for message in messages for name in references([message.node["payload"], message.headers])]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(references(schemas[name]))
    return found
