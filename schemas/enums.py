"""Enumerations in messages, to which a later version of the service may add members."""

from enum import Enum
from typing import TypeVar

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import Self


class DescribedEnum(str, Enum):
    """An enumeration whose members have descriptions, which the AsyncAPI document lists."""

    __str__ = str.__str__  # as enum.StrEnum, which Python 3.10 lacks
    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Create a member; `meaning` is its description in the AsyncAPI document."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    def __reduce_ex__(self, _: object) -> tuple[object, ...]:
        """Pickle the member as its value, because a process of another version may not know the member."""
        return _member, (type(self), self.value)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the members' descriptions to the JSON schema: for people as text, for code generators as `x-enum-*`."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        members = list(cls)
        schema["description"] = "\n".join(
            [f"{(cls.__doc__ or '').strip()}\n", *(f"* `{member.value}`: {member.meaning}" for member in members)]
        )
        schema["x-enum-varnames"] = [member.name for member in members]
        schema["x-enum-descriptions"] = [member.meaning for member in members]
        return reference


_Described = TypeVar("_Described", bound=DescribedEnum)


def of_any_version(kind: type[_Described]) -> BeforeValidator:
    """Return a validator that accepts any string as a member of the enumeration `kind`.

    A string that this version does not know, because a later version added it, becomes a member with an empty
    description; iterating over `kind` does not yield it.
    """
    return BeforeValidator(lambda value: _member(kind, value) if isinstance(value, str) else value)


def _member(kind: type[_Described], value: str) -> _Described:
    if value in list(kind):
        return kind(value)
    member = str.__new__(kind, value)
    member._name_ = member._value_ = value
    member.meaning = ""
    return member
