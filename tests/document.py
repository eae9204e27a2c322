"""The AsyncAPI document, as clients have it, and whether a message is one of those that it describes."""

import copy
import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft7Validator, FormatChecker

ROOT = Path(__file__).parents[1]


def from_yaml(text: str | bytes) -> Any:
    """What `yaml.safe_load` reads, in a tenth of its time."""
    return yaml.load(text, Loader=yaml.CSafeLoader)


DOCUMENT: dict[str, Any] = from_yaml((ROOT / "asyncapi.yaml").read_text(encoding="utf-8"))
COMPONENTS: dict[str, Any] = DOCUMENT["components"]
MESSAGES: dict[str, dict[str, Any]] = COMPONENTS["messages"]
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).utcoffset() is not None


def operations(action: str) -> dict[str, dict[str, Any]]:
    return {name: operation for name, operation in DOCUMENT["operations"].items() if operation["action"] == action}


def examples(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The examples of all messages of an operation's channel."""
    return [
        example for name in names(channel_of(operation)["messages"].values()) for example in MESSAGES[name]["examples"]
    ]


def channel_of(operation: dict[str, Any]) -> dict[str, Any]:
    channel: dict[str, Any] = DOCUMENT["channels"][operation["channel"]["$ref"].removeprefix("#/channels/")]
    return channel


def operation_at(subject: str) -> dict[str, Any]:
    """The operation whose address a subject belongs to; a literal address goes first."""
    by_address: dict[str, dict[str, Any]] = {
        channel_of(operation_object)["address"]: operation_object
        for operation_object in DOCUMENT["operations"].values()
    }
    return by_address.get(subject) or next(
        operation
        for address, operation in by_address.items()
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^.]+", re.escape(address)), subject)
    )


def names(references: list[dict[str, Any]]) -> list[str]:
    return [reference["$ref"].rpartition("/")[2] for reference in references]


@cache
def validator(message: str, part: str, *, closed: bool) -> Draft7Validator:
    """Validates the payload or the headers of a message; `closed`: whatever is not described is an error."""
    schema = {"allOf": [MESSAGES[message][part]], "components": {"schemas": _closed() if closed else _schemas()}}
    return Draft7Validator(schema, format_checker=FORMATS)


def _schemas() -> dict[str, Any]:
    schemas: dict[str, Any] = COMPONENTS["schemas"]
    return schemas


@cache
def _closed() -> dict[str, Any]:
    schemas = copy.deepcopy(_schemas())
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return schemas


def faults(candidates: list[str], headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Why a message is none of the candidates, for each; empty where it is one of them."""
    problems = {name: _fault(name, headers, body) for name in candidates}
    return {} if "" in problems.values() else problems


def matching(candidates: list[str], headers: Mapping[str, str], body: bytes) -> list[str]:
    return [name for name in candidates if not _fault(name, headers, body)]


def _fault(message: str, headers: Mapping[str, str], body: bytes) -> str:
    try:
        payload = body.decode() if MESSAGES[message]["contentType"].startswith("text/") else json.loads(body)
    except ValueError as error:
        return str(error)
    for part, value in (("headers", dict(headers)), ("payload", payload)):
        for fault in validator(message, part, closed=True).iter_errors(value):
            return f"{part} {fault.json_path}: {fault.message[:300]}"
    return ""
