"""What docs/live.md says in tables is what the code does."""

import json
import re
from pathlib import Path
from typing import Any

from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.streams import DUPLICATE_WINDOW_S
from natscribe.schemas.live import IDLE_S, LARGEST_FRAME_BYTES, Codec, LiveAudio, LiveTask, Partial
from natscribe.schemas.transcription import TranscriptionTask

from tests.contract.test_contract import IN_WORDS, quoted

TEXT = (Path(__file__).parents[2] / "docs/live.md").read_text(encoding="utf-8")


def table(first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    _, found, after = TEXT.partition(f"\n| {first_heading} |")
    assert found, first_heading
    rows = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def limits(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type of a field and what limits it, in words."""
    if "$ref" in field:
        field = definitions[field["$ref"].rpartition("/")[2]]
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field.get("pattern") in IN_WORDS:
        return IN_WORDS[field["pattern"]]
    return f"integer, {field['minimum']} to {field['maximum']}" if field["type"] == "integer" else str(field["type"])


def row(name: str, field: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
    return [f"`{name}`", limits(field, definitions), default, field["description"]]


def test_the_fields_of_a_live_task() -> None:
    # Given the schema of a live task, with the fields of its sound in their place
    schema = LiveTask.model_json_schema()
    expected = []
    for name, field in schema["properties"].items():
        if name == "audio":
            inner = LiveAudio.model_json_schema()
            expected += [row(f"audio.{each}", of, inner["$defs"]) for each, of in inner["properties"].items()]
        elif name == "task_id" or name not in TranscriptionTask.model_fields:
            expected.append(row(name, field, schema["$defs"]))
    # Then the table says of each field what its schema says
    assert sorted(table("live field")) == sorted(expected)
    # And the page names those that are as in any transcription
    shared = set(LiveTask.model_fields) & set(TranscriptionTask.model_fields) - {"task_id"}
    (named,) = re.findall(r"The fields (.*?) are those of", TEXT, re.DOTALL)
    assert set(quoted(named)) == shared


def test_the_codecs() -> None:
    assert table("codec") == [[f"`{codec}`", codec.meaning] for codec in Codec]


def test_the_fields_of_a_partial() -> None:
    fields = Partial.model_json_schema()["properties"]
    assert table("partial field") == [[f"`{name}`", field["description"]] for name, field in fields.items()]


def test_the_numbers() -> None:
    assert f"at most {LARGEST_FRAME_BYTES} bytes" in TEXT
    assert f"`err_code` {QUEUE_FULL}" in TEXT
    assert DUPLICATE_WINDOW_S == 120
    assert "in the last two minutes" in TEXT
    assert IDLE_S == 30
