"""The types and limits of fields, as the docs page shows them."""

import pytest

from app.document.docs_page.contract import Node
from app.document.docs_page.types import limits, type_of

STRING: Node = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (STRING, "string"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"$ref": "#/components/schemas/Word"}, '<a href="#schema-Word">Word</a>'),
        ({"anyOf": [STRING, {"type": "null"}]}, "string or null"),
        ({"const": "a<b", "type": "string"}, "<code>a&lt;b</code>"),
        ({"type": "array", "items": STRING}, "list of string"),
        ({"type": "array", "prefixItems": [STRING, {"type": "number"}]}, "list of string and number"),
        ({"type": "object", "additionalProperties": STRING}, "object, each value: string"),
        ({"type": "object", "additionalProperties": STRING, "properties": {}}, "object"),
        ({"type": "object"}, "object"),
    ],
)
def test_a_type_is_named(schema: Node, words: str) -> None:
    assert type_of(schema) == words


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({}, []),
        ({"minLength": 0}, ["at least 0 characters"]),
        ({"maxLength": 9}, ["up to 9 characters"]),
        ({"minLength": 1, "maxLength": 9}, ["1 to 9 characters"]),
        ({"maxItems": 3}, ["up to 3 items"]),
        ({"minimum": 0}, ["at least 0"]),
        ({"maximum": 1.5}, ["up to 1.5"]),
        ({"minimum": -(2**63), "exclusiveMaximum": 2**63}, ["at least -2⁶³", "below 2⁶³"]),
        ({"pattern": "^<a>$"}, ["matches <code>^&lt;a&gt;$</code>"]),
        ({"anyOf": [{"minimum": 1}, {"type": "null"}]}, ["at least 1"]),
        ({"items": {"maxLength": 9}}, ["each: up to 9 characters"]),
        ({"default": None}, ["default <code>null</code>"]),
    ],
)
def test_limits_are_named(schema: Node, words: list[str]) -> None:
    assert list(limits(schema)) == words
