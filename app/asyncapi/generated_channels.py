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
    """What the code does on all subjects of one address: `action` is `receive` or `send`.

    `payloads` are the names of the payloads' classes; `description` is one line of Markdown and may be empty.
    """

    addresses: frozenset[str]
    action: str
    queue: str | None
    payloads: frozenset[str]
    title: str
    summary: str
    description: str


def find(document: Node, address: str) -> GeneratedChannel:
    """Return what the code does on the subjects of an address, from the AsyncAPI document that FastStream generates.

    Raises:
        LookupError: The code neither subscribes nor publishes to this address.
    """
    channels = _channels(document, address)
    (action,) = {
        operation["action"]
        for operation in document["operations"].values()
        if unquote(operation["channel"]["$ref"]).removeprefix("#/channels/") in channels
    }
    (title,) = {name.partition(" (")[0] for name in channels}  # in parentheses: which of the address's subjects
    (queue,) = {node["bindings"]["nats"].get("queue") for node in channels.values()}
    (text,) = {node["description"] for node in channels.values()}
    return GeneratedChannel(
        frozenset(node["address"] for node in channels.values()),
        action,
        queue,
        frozenset(name for node in channels.values() for name in _references(document, node["messages"])),
        title,
        *paragraphs(text),
    )


def _channels(document: Node, address: str) -> Node:
    subjects = pattern(address)
    channels = {
        name: node
        for name, node in document["channels"].items()
        if node["address"] == address or subjects.fullmatch(node["address"])
    }
    if not channels:
        message = f"The code neither subscribes to {address} nor publishes there: correct app/asyncapi/channels.py."
        raise LookupError(message)
    return channels


def paragraphs(text: str) -> tuple[str, str]:
    """Return the first paragraph of a docstring and the other ones, each as one line."""
    first, _, rest = text.strip().partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


def pattern(address: str) -> re.Pattern[str]:
    """Make a pattern that matches the subjects of an address, with values or wildcards for its parameters."""
    words = {name: "|".join([*map(str, enum), r"\*"]) for name, enum in ENUMS.items()}
    parts = re.split(r"\{(\w+)\}", address)
    return re.compile(
        "".join(f"({words.get(part, '[^.]+')})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    )


def _references(document: Node, node: object) -> Iterator[str]:
    """Yield the name of each schema to which a part of the AsyncAPI document refers, also through others."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    section, _, name = unquote(str(node.get("$ref", ""))).removeprefix("#/components/").partition("/")
    if section == "messages":
        yield from _references(document, document["components"]["messages"][name])
    elif section == "schemas":
        yield name
        yield from _references(document, document["components"]["schemas"][name].get("anyOf"))
    else:
        for inner in node.values():
            yield from _references(document, inner)
