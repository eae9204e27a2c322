"""Finds the subjects, operations and payloads of a channel in the AsyncAPI document that FastStream generates."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from natscribe.schemas.wire import DescribedEnum, Kind, Priority

from app.asyncapi.node import Node

ENUMS: Final[Mapping[str, type[DescribedEnum]]] = {"priority": Priority, "kind": Kind}


@dataclass(frozen=True, slots=True)
class GeneratedChannel:
    """What the code does on the subjects of one address: subscribe to all of them, or publish on all of them."""

    addresses: frozenset[str]
    action: str
    queue: str | None
    models: frozenset[str]  # the names of the payloads' classes


def find(found: Node, address: str) -> GeneratedChannel:
    """Return what the code does on the subjects of an address, from the AsyncAPI document that FastStream generates.

    Raises:
        LookupError: The code neither subscribes nor publishes to this address.
    """
    subjects = pattern(address)
    channels = {
        name: node
        for name, node in found["channels"].items()
        if node["address"] == address or subjects.fullmatch(node["address"])
    }
    if not channels:
        message = f"The code neither subscribes to {address} nor publishes there: correct wording.py."
        raise LookupError(message)
    (action,) = {
        operation["action"]
        for operation in found["operations"].values()
        if _plain(operation["channel"]["$ref"]).removeprefix("#/channels/") in channels
    }
    (queue,) = {node["bindings"]["nats"].get("queue") for node in channels.values()}
    models = frozenset(name for node in channels.values() for name in _references(found, node["messages"]))
    return GeneratedChannel(frozenset(node["address"] for node in channels.values()), action, queue, models)


def pattern(address: str) -> re.Pattern[str]:
    """Make a pattern that matches the subjects of an address, with values or wildcards for its parameters."""
    words = {name: "|".join([*map(str, enum), r"\*"]) for name, enum in ENUMS.items()}
    parts = re.split(r"\{(\w+)\}", address)
    return re.compile(
        "".join(f"({words.get(part, '[^.]+')})" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    )


def _references(found: Node, node: object) -> Iterator[str]:
    """Yield the name of each schema to which a part of the AsyncAPI document refers, also through others."""
    if isinstance(node, list):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    place, _, name = _plain(str(node.get("$ref", ""))).removeprefix("#/components/").partition("/")
    if place == "messages":
        yield from _references(found, found["components"]["messages"][name])
    elif place == "schemas":
        yield name
        yield from _references(found, found["components"]["schemas"][name].get("anyOf"))
    else:
        for inner in node.values():
            yield from _references(found, inner)


def _plain(reference: str) -> str:
    return reference.replace("%7B", "{").replace("%7D", "}").replace("%2A", "*")
