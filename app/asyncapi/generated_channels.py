"""Reads titles, descriptions, operations and payloads from the AsyncAPI document that FastStream generates."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from natscribe.schemas.enums import DescribedEnum
from natscribe.schemas.wire import Kind, Priority

from app.asyncapi.node import Node

ENUMS: Final[Mapping[str, type[DescribedEnum]]] = {"priority": Priority, "kind": Kind}


@dataclass(frozen=True, slots=True)
class GeneratedChannel:
    """What FastStream's AsyncAPI document says about one channel of the service.

    For an address such as `tasks.transcription.{priority}`, FastStream's document has a channel for each subject; this
    class merges them.

    `addresses`: the subjects. `action`: what the service does with the messages, `receive` or `send`. `queue`: the
    queue group in which the service subscribes; None: it has no group. `payloads`: the names of the payload classes.
    `description`: one line of Markdown; may be empty.
    """

    addresses: frozenset[str]
    action: str
    queue: str | None
    payloads: frozenset[str]
    title: str
    summary: str
    description: str


def find(document: Node, address: str) -> GeneratedChannel:
    """Merge the channels that FastStream's AsyncAPI document has for the subjects of one channel address.

    Raises:
        LookupError: The code neither subscribes nor publishes to this address.
    """
    subjects = pattern(address)
    channels = {
        name: node
        for name, node in document["channels"].items()
        if node["address"] == address or subjects.fullmatch(node["address"])
    }
    if not channels:
        message = f"The code neither subscribes to {address} nor publishes there: correct app/asyncapi/channels.py."
        raise LookupError(message)
    (action,) = {document["operations"][name]["action"] for name in channels}
    (title,) = {name.partition(" (")[0] for name in channels}  # in parentheses: which of the address's subjects
    (queue,) = {node["bindings"]["nats"].get("queue") for node in channels.values()}
    (text,) = {node["description"] for node in channels.values()}
    return GeneratedChannel(
        frozenset(node["address"] for node in channels.values()),
        action,
        queue,
        frozenset(payload for name in channels for payload in _payloads(document, name)),
        title,
        *paragraphs(text),
    )


def _payloads(document: Node, channel: str) -> Iterator[str]:
    """Yield the names of the payload classes on a channel of FastStream's document, also those of a union."""
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    for message in document["channels"][channel]["messages"]:
        payload = messages[f"{channel}:{message}"]["payload"]
        for schema in schemas[_name(payload)].get("anyOf", [payload]):
            yield _name(schema)


def _name(reference: Node) -> str:
    return unquote(reference["$ref"]).rpartition("/")[2]


def paragraphs(text: str) -> tuple[str, str]:
    """Split a docstring into its first paragraph and the rest; return both, each joined into one line."""
    first, _, rest = text.strip().partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def pattern(address: str) -> re.Pattern[str]:
    """Return a regular expression for the subjects of an address such as `tasks.transcription.{priority}`.

    A parameter matches any word without a dot; a parameter in ENUMS matches only `*` and the values of its enum.
    """
    words = {name: "|".join([*map(str, enum), r"\*"]) for name, enum in ENUMS.items()}
    parameter = r"\\\{(\w+)\\\}"  # as `re.escape` writes it
    return re.compile(re.sub(parameter, lambda name: f"({words.get(name[1], '[^.]+')})", re.escape(address)))
