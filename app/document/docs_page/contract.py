"""Arranges the parts of the AsyncAPI document for the documentation page, in the order in which a client reads them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

Node = dict[str, Any]
"""A part of the AsyncAPI document: a JSON object as AsyncAPI 3 defines it."""

_INSIDE: Final = "inside"  # the tag of what only workers use
_SMALL: Final = 2  # fields: requests up to this size are shown at each use, larger messages only once
_SCHEMAS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Message:
    """A message of an operation, as the documentation page shows it.

    `schema`: the name of the payload's schema; empty: it has none. `is_home`: whether the schema appears on the page
    here for the first time; links to the schema lead to this place. `is_whole`: whether the page shows the fields and
    examples here; otherwise it shows only a link.
    """

    node: Node
    schema: str
    payload: Node
    is_home: bool
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client can do on one channel; `role` says what, such as `You publish`.

    `name` is the operation's id in the AsyncAPI document; `node`, `channel` and `parameters` are parts of that
    document.
    """

    name: str
    role: str
    node: Node
    channel: Node
    parameters: dict[str, Node]
    messages: list[Message]
    replies: list[Message]


@dataclass(frozen=True, slots=True)
class Group:
    """A section of the documentation page: the operations that have one tag in the AsyncAPI document."""

    name: str
    title: str
    operations: list[Operation]


@dataclass(frozen=True, slots=True)
class Contract:
    """The AsyncAPI document, arranged as the documentation page shows it.

    `groups`: the groups of operations for clients. `types`: the schemas that clients need besides those of the
    messages. `inside`, `inside_types`: the groups and schemas that only workers use. `explained`: the schemas that only
    one field uses, so that the page explains them at that field. `headers`: the names of the header schemas.
    """

    groups: list[Group]
    inside: list[Group]
    types: dict[str, Node]
    inside_types: dict[str, Node]
    explained: dict[str, Node]
    headers: set[str]


def read(document: Node) -> Contract:
    """Arrange the parts of an AsyncAPI document as the documentation page shows them."""
    schemas: dict[str, Node] = document["components"]["schemas"]
    shown: set[str] = set()
    groups = [_group(document, tag, shown) for tag in document["info"]["tags"]]
    public = [group for group in groups if group.name != _INSIDE]
    uses = Counter(name for schema in schemas.values() for name in references(schema))
    explained = {name for name in schemas.keys() - shown if uses[name] == 1}
    types = schemas.keys() - shown - explained
    public_types = types & _reachable(schemas, public)
    return Contract(
        groups=public,
        inside=[group for group in groups if group.name == _INSIDE],
        types=_in_order(schemas, public_types),
        inside_types=_in_order(schemas, types - public_types),
        explained=_in_order(schemas, explained),
        headers={name_of(message["headers"]) for message in document["components"]["messages"].values()},
    )


def _in_order(schemas: dict[str, Node], names: set[str]) -> dict[str, Node]:
    return {name: schema for name, schema in schemas.items() if name in names}


def resolve(document: Node, node: Node) -> Node:
    """Follow the `$ref` of a node and return its target; return a node without `$ref` as it is."""
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
    channel = resolve(document, node["channel"])
    reply = node.get("reply", {"messages": []})
    return Operation(
        name=name,
        role=_role(node),
        node=node,
        channel=channel,
        parameters={key: resolve(document, parameter) for key, parameter in channel.get("parameters", {}).items()},
        messages=[_message(document, message, shown, is_reply=False) for message in node["messages"]],
        replies=[_message(document, message, shown, is_reply=True) for message in reply["messages"]],
    )


def _tags(operation: Node) -> set[str]:
    return {tag["name"] for tag in operation["tags"]}


def _role(operation: Node) -> str:
    """Return what a client does in an operation, such as `You publish`.

    AsyncAPI's `action` says what the service does: if the service sends, the client receives.
    """
    if _INSIDE in _tags(operation):
        return "Workers only"
    if operation["action"] == "send":
        return "You receive"
    return "You request" if "reply" in operation else "You publish"


def _message(document: Node, reference: Node, shown: set[str], *, is_reply: bool) -> Message:
    node = resolve(document, reference)
    schema = name_of(node["payload"])
    payload = resolve(document, node["payload"])
    is_home = bool(schema) and schema not in shown
    shown.add(schema)
    is_small = not is_reply and len(payload.get("properties", {})) <= _SMALL
    return Message(
        node=node,
        schema=schema,
        payload=payload,
        is_home=is_home,
        is_whole=is_home or not schema or is_small,
    )


def _reachable(schemas: dict[str, Node], groups: list[Group]) -> set[str]:
    """Return the names of the schemas that the messages of `groups` use, directly or through other schemas."""
    operations = [operation for group in groups for operation in group.operations]
    messages = [message for operation in operations for message in (*operation.messages, *operation.replies)]
    waiting = [name for message in messages for name in references([message.node["payload"], message.node["headers"]])]
    reachable: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in reachable:
            reachable.add(name)
            waiting.extend(references(schemas[name]))
    return reachable
