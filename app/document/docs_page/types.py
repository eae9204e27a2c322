"""Describes the type and the limits of a JSON schema in words, for the documentation page."""

import json
from collections.abc import Iterator
from typing import Final

from markupsafe import Markup, escape

from app.document.docs_page.contract import Node, name_of

_NAMED_NUMBERS: Final = {2**63: "2⁶³", -(2**63): "-2⁶³"}  # numbers that are hard to recognize by their digits


def type_of(schema: Node) -> Markup:
    """Describe the type of a schema's values in HTML; the name of a schema becomes a link to its explanation."""
    if name := name_of(schema):
        return Markup('<a href="#schema-{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(type_of(choice) for choice in schema["anyOf"])
    if "const" in schema:
        return Markup("<code>{}</code>").format(schema["const"])
    if schema["type"] == "array":
        return Markup("list of ") + Markup(" and ").join(map(type_of, schema.get("prefixItems") or [schema["items"]]))
    if "additionalProperties" in schema and "properties" not in schema:
        return Markup("object, each value: ") + type_of(schema["additionalProperties"])
    return escape(schema.get("format", schema["type"]))


def limits(schema: Node) -> Iterator[Markup]:
    """Yield the limits of a schema's values and their default, each as HTML such as `1 to 64 characters`."""
    if "minLength" in schema or "maxLength" in schema:
        yield _range(schema.get("minLength"), schema.get("maxLength"), " characters")
    if "maxItems" in schema:
        yield _range(None, schema["maxItems"], " items")
    yield from _bounds(schema)
    if "pattern" in schema:
        yield Markup("matches <code>{}</code>").format(schema["pattern"])
    for choice in schema.get("anyOf", []):
        yield from limits(choice)
    if "items" in schema:
        yield from (Markup("each: ") + limit for limit in limits(schema["items"]))
    if "default" in schema:
        yield Markup("default <code>{}</code>").format(json.dumps(schema["default"]))


def _bounds(schema: Node) -> Iterator[Markup]:
    if "minimum" in schema or "maximum" in schema:
        yield _range(schema.get("minimum"), schema.get("maximum"), "")
    if "exclusiveMaximum" in schema:
        yield Markup("below {}").format(_number(schema["exclusiveMaximum"]))


def _range(least: float | None, most: float | None, unit: str) -> Markup:
    if least is None:
        return Markup("up to {}{}").format(_number(most), unit)
    if most is None:
        return Markup("at least {}{}").format(_number(least), unit)
    return Markup("{} to {}{}").format(_number(least), _number(most), unit)


def _number(value: float | None) -> str:
    return next((name for number, name in _NAMED_NUMBERS.items() if number == value), str(value))
