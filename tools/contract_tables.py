"""Write the tables of docs/contract.md that follow from the code: requests, fields, codecs and states: `make spec`."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from natscribe.schemas.channels import CHANNELS, Channel
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.erased import Erased, ErasureReason
from natscribe.schemas.live import Codec, LiveAudio, LiveTask, Partial, SpeakersEvent, TurnEvent, TurnState
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import LANGUAGE_PATTERN, TASK_ID_PATTERN
from pydantic import BaseModel

DOCUMENT: Final = Path("docs/contract.md")
IN_WORDS: Final = {  # of patterns and formats
    "date-time": "RFC 3339 time with a zone",
    TASK_ID_PATTERN: "1 to 64 letters, digits, `-` and `_`",
    LANGUAGE_PATTERN: "2 or 3 small letters",
}
Rows = Iterator[list[str]]


def with_tables(document: str) -> str:
    """Return the text of docs/contract.md with new rows in its tables.

    Raises:
        LookupError: The document lacks a table.
    """
    for heading, rows in TABLES.items():
        table = re.compile(rf"(?<=\n)(\| {heading} \|.*\n\|[-|]+\n)(?:\|.*\n)*")
        text = "".join(f"| {' | '.join(cells)} |\n".replace("|  |", "| |") for cells in rows())
        document, count = table.subn(rf"\1{text.replace(chr(92), chr(92) * 2)}", document)
        if not count:
            message = f"docs/contract.md has no table `{heading}`: write its headings there."
            raise LookupError(message)
    return document


def _requests() -> Rows:
    for channel in CHANNELS:
        if channel.replies:
            yield [f"`{channel.subject}`", " or ".join(_names(channel.messages)), _replies(channel)]


def _replies(channel: Channel) -> str:
    files = ["text or a page"] if channel.has_files else []
    return ", ".join([*_names(channel.replies), *files, *(["from each worker"] if channel.for_each else [])])


def _names(models: tuple[type[BaseModel], ...]) -> list[str]:
    return [f"`{model.__name__}`" for model in models]


def _task_fields() -> Rows:
    of_diarizations = fields_of(DiarizationTask)
    for name, field in fields_of(TranscriptionTask).items():
        first, *rest = _row(name, field)
        yield [first, "yes" if name in of_diarizations else "", *rest]


def _live_fields() -> Rows:
    for name, field in fields_of(LiveTask).items():
        parts = fields_of(LiveAudio) if name == "audio" else {}
        yield from [_row(f"audio.{part}", its) for part, its in parts.items()] or [_row(name, field)]


def _meanings(model: type[BaseModel]) -> Callable[[], Rows]:
    return lambda: ([f"`{name}`", field["description"]] for name, field in fields_of(model).items())


def _row(name: str, field: dict[str, Any]) -> list[str]:
    default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
    return [f"`{name}`", limits(field), default, field["description"]]


def fields_of(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """Return the fields of a schema, with references resolved."""
    schema = model.model_json_schema()

    def resolved(choice: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice

    return {
        name: field | {"anyOf": [resolved(choice) for choice in field["anyOf"]]} if "anyOf" in field else field
        for name, field in schema["properties"].items()
    }


def limits(schema: dict[str, Any]) -> str:
    """Return the type and the limits of a field in words; null only as a default."""
    if "anyOf" in schema:
        choices = [limits(choice) for choice in schema["anyOf"]]
        return ", or ".join(choice for choice in choices if choice != "null" or schema.get("default") is None)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    words, kind = schema.get("pattern") or schema.get("format"), str(schema["type"])
    if words in IN_WORDS:
        return IN_WORDS[words]
    return _LIMITS[kind](schema) if kind in _LIMITS else kind


def _of_text(schema: dict[str, Any]) -> str:
    printable = ", no control characters" if r"\x00-\x1f" in schema.get("pattern", "") else ""
    return f"{schema.get('minLength', 0)} to {schema['maxLength']} characters{printable}"


def _of_integer(schema: dict[str, Any]) -> str:
    is_any = schema["minimum"] == -(2**63)
    return "integer of 64 bits" if is_any else f"integer, {schema['minimum']} to {schema['maximum']}"


_LIMITS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "string": _of_text,
    "integer": _of_integer,
    "array": lambda schema: f"list, up to {schema['maxItems']} of {limits(schema['items'])}",
}
TABLES: Final[dict[str, Callable[[], Rows]]] = {
    "subject": _requests,
    "task field": _task_fields,
    "live field": _live_fields,
    "codec": lambda: ([f"`{codec}`", codec.meaning] for codec in Codec),
    "state": lambda: ([f"`{state}`", "yes" if state.ended else "no", state.meaning] for state in State),
    "partial field": _meanings(Partial),
    "turn field": _meanings(TurnEvent),
    "turn state": lambda: ([f"`{state}`", state.meaning] for state in TurnState),
    "speakers field": _meanings(SpeakersEvent),
    "erased field": _meanings(Erased),
    "reason": lambda: ([f"`{reason}`", reason.meaning] for reason in ErasureReason),
}

if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
