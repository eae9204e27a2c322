"""The tables of docs/contract.md agree with the code."""

import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from faststream.nats import NatsResponse
from nats.js.api import RetentionPolicy
from natscribe.jetstream import cloud_events
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.streams import DAY_S, TASK_TTL_S, stored_subjects, task_subjects
from natscribe.schemas import subjects
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import FrameHeaders
from natscribe.schemas.live import (
    MAX_FRAME_BYTES,
    MAX_FRAME_S,
    MIN_FRAME_S,
    Codec,
    LiveAudio,
    LiveTask,
    Partial,
    SpeakersEvent,
)
from natscribe.schemas.progress import State
from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import LANGUAGE_PATTERN, TranscriptionTask
from natscribe.schemas.wire import TASK_ID_PATTERN, Kind, Lane, Priority
from pydantic import BaseModel

from app.jetstream import streams
from app.redis_store import keys, projection
from app.settings import Settings
from handlers.channels import REQUESTS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
HANDLERS = {route.kwargs["subject"]: route.call for route in REQUESTS}
TASKS = (TranscriptionTask, DiarizationTask)
FILES = (NatsResponse,)  # replies that are not JSON
IN_WORDS = {  # of patterns and formats
    "date-time": "RFC 3339 time with a zone",
    TASK_ID_PATTERN: "1 to 64 letters, digits, `-` and `_`",
    LANGUAGE_PATTERN: "2 or 3 small letters",
}
RETRIED = re.compile(r"TransientError\(\s*ErrorCode\.(\w+)")


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def table(first_heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    _, heading, after = TEXT.partition(f"\n| {first_heading} |")
    assert heading, first_heading
    rows = after.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def quoted(cell: str) -> list[str]:
    return CODE.findall(cell)


def limits(schema: dict[str, Any]) -> str:
    """The type and the limits of a field in words; null only as a default."""
    if "anyOf" in schema:
        choices = [limits(choice) for choice in schema["anyOf"]]
        return ", or ".join(choice for choice in choices if choice != "null" or schema.get("default") is None)
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if (words := schema.get("pattern") or schema.get("format")) in IN_WORDS:
        return IN_WORDS[words]
    match schema["type"]:
        case "string":
            printable = ", no control characters" if r"\x00-\x1f" in schema.get("pattern", "") else ""
            return f"{schema.get('minLength', 0)} to {schema['maxLength']} characters{printable}"
        case "array":
            return f"list, up to {schema['maxItems']} of {limits(schema['items'])}"
        case "integer" if schema["minimum"] == -(2**63):
            return "integer of 64 bits"
        case "integer":
            return f"integer, {schema['minimum']} to {schema['maximum']}"
        case other:
            return str(other)


def fields_of(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The fields of a schema, with references resolved."""
    schema = model.model_json_schema()

    def resolved(choice: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][choice["$ref"].rpartition("/")[2]] if "$ref" in choice else choice

    return {
        name: field | {"anyOf": [resolved(choice) for choice in field["anyOf"]]} if "anyOf" in field else field
        for name, field in schema["properties"].items()
    }


def row_of(name: str, field: dict[str, Any]) -> list[str]:
    default = f"`{json.dumps(field['default'])}`" if "default" in field else "required"
    return [name, limits(field), default, field["description"]]


def days(seconds: float | None) -> str:
    number = (seconds or 0) / DAY_S
    return f"{number:g} day{'' if number == 1 else 's'}"


def test_the_streams() -> None:
    queues, settings = [f"tasks.{queue}.*" for queue in Lane], Settings(_env_file=None)
    expected = [
        [
            config.name,
            queues if config.retention is RetentionPolicy.WORK_QUEUE else stored_subjects(config),
            "until done" if config.retention is RetentionPolicy.WORK_QUEUE else "all",
            days(config.max_age),
        ]
        for config in streams.stream_configs(settings)
        if config.name not in {settings.stream_names.retention, settings.stream_names.ready}  # internal
    ]
    assert [
        [quoted(name)[0], quoted(subjects_cell), keeps, age] for name, subjects_cell, keeps, age in table("stream")
    ] == expected
    assert task_subjects() == [f"tasks.{queue}.{priority}" for priority in Priority for queue in Lane]


def test_the_buckets() -> None:
    settings = Settings(_env_file=None)
    ttls = {config.bucket: config.ttl for config in streams.bucket_configs(settings)}
    ages = {quoted(name)[0]: age for name, _, age in table("bucket")}
    assert ages.keys() == ttls.keys()
    assert ages["results"] == days(ttls["results"])
    assert ages["audio"].startswith(f"{days(settings.audio_ttl)} from the end of their last task (`AUDIO_TTL`)")
    assert ages["audio"].endswith(f"that no task has used: {days(ttls['audio'])} from its upload")


def test_the_keys() -> None:
    ages = {quoted(key)[0]: age for key, _, age in table("Redis key")}
    documented = (keys.info, keys.progress, keys.result)
    assert list(ages) == [key("{id}") for key in documented]
    assert all(age.startswith(days(projection.KEEP_S)) for age in ages.values())
    assert projection.KEEP_PROGRESS_S == DAY_S


def test_the_limits_and_their_defaults() -> None:
    settings = Settings(_env_file=None)
    for name, default, _ in table("setting"):
        assert float(default.split()[0]) == getattr(settings, quoted(name)[0].lower()), name
    assert f"`err_code` {QUEUE_FULL}" in TEXT
    assert f"waited {days(TASK_TTL_S)} for a worker, from its `not_before` on," in TEXT


def test_the_error_codes() -> None:
    rows = table("code")
    assert [(quoted(code)[0], who, meaning) for code, _, who, meaning in rows] == [
        (code, "client" if code.is_client_error else "operator", code.meaning) for code in ErrorCode
    ]
    # And the retried ones are those that are raised as TransientError
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "app").rglob("*.py")]
    retried = {ErrorCode[name].value for source in sources for name in RETRIED.findall(source)}
    assert {quoted(code)[0] for code, again, *_ in rows if again == "yes"} == retried


def test_the_fields_of_a_task() -> None:
    # Given the schemas of both kinds of tasks
    transcription, diarization = (kind.model_json_schema() for kind in TASKS)
    # Then the table agrees with the schema of each field
    assert [
        [quoted(name)[0], mark, words, default, meaning] for name, mark, words, default, meaning in table("task field")
    ] == [
        [name, "yes" if name in diarization["properties"] else "", *row_of(name, field)[1:]]
        for name, field in fields_of(TranscriptionTask).items()
    ]
    # And a diarization has no other fields, and the same limits
    common = diarization["properties"]
    assert {name: (field, name in diarization["required"]) for name, field in common.items()} == {
        name: (transcription["properties"][name], name in transcription["required"]) for name in common
    }


def test_the_fields_of_a_live_task() -> None:
    # Given the fields of a live task and of its frames
    task = fields_of(LiveTask)
    audio = {f"audio.{name}": field for name, field in fields_of(LiveAudio).items()}
    expected = [
        row_of(*field) for name in task for field in (audio.items() if name == "audio" else [(name, task[name])])
    ]
    # Then the table agrees with their schemas
    assert [[quoted(name)[0], *rest] for name, *rest in table("live field")] == expected
    # And the table of codecs has each codec with its meaning
    assert [(quoted(codec)[0], meaning) for codec, meaning in table("codec")] == [
        (item, item.meaning) for item in Codec
    ]


def test_the_headers_of_a_frame() -> None:
    sent = {field.alias for field in FrameHeaders.model_fields.values()}
    assert {quoted(header)[0] for header, _ in table("frame header")} == sent


@pytest.mark.parametrize(("heading", "model"), [("speakers field", SpeakersEvent), ("partial field", Partial)])
def test_the_fields_of_an_event_of_a_live_task(heading: str, model: type[BaseModel]) -> None:
    documented = [(quoted(name)[0], meaning) for name, meaning in table(heading)]
    assert documented == [(name, field["description"]) for name, field in fields_of(model).items()]


def test_the_limits_of_a_frame() -> None:
    assert f"at most {MAX_FRAME_BYTES // 1024} KiB" in TEXT
    assert f"{MIN_FRAME_S * 1000:g} ms to {MAX_FRAME_S:g} s of audio" in TEXT


def test_the_limits_of_subtitles() -> None:
    fields = fields_of(SubtitleLimits)
    ranges = {name: field["anyOf"][0] for name, field in fields.items()}
    assert [[quoted(name)[0], default, limits] for name, default, limits, _ in table("field")] == [
        [name, f"{field['default']:g}", f"{ranges[name]['minimum']}, {ranges[name]['maximum']}"]
        for name, field in fields.items()
    ]


def test_the_states() -> None:
    documented_states = [(quoted(state)[0], ends, meaning) for state, ends, meaning in table("state")]
    assert documented_states == [(state, "yes" if state.ended else "no", state.meaning) for state in State]


def test_the_requests_and_their_replies() -> None:
    for (subject, request, reply), (expected, handler) in zip(table("subject"), HANDLERS.items(), strict=True):
        signature = inspect.signature(handler)
        reply_types = get_args(signature.return_annotation) or (signature.return_annotation,)
        assert quoted(subject) == [expected]
        requests = signature.parameters["request"].annotation
        assert quoted(request) == [request.__name__ for request in get_args(requests) or (requests,)]
        assert quoted(reply) == [reply_type.__name__ for reply_type in reply_types if reply_type not in FILES]


def test_the_headers_of_events() -> None:
    documented_headers = {header for cell, _ in table("header") for header in quoted(cell)}
    sent = cloud_events.headers("progress", "natscribe/worker", "id", task_id="t1")
    assert documented_headers == sent.keys() | {"traceparent"}


def test_every_named_subject_exists() -> None:
    existing = {*task_subjects(), *HANDLERS, *map(subjects.dead_letters, ("*", *Kind))}
    of_tasks = (subjects.progress, subjects.segments, subjects.results, subjects.live_audio, subjects.partials)
    existing |= {subject(task_id) for subject in of_tasks for task_id in ("*", "t1")} | {subjects.speakers("*")}
    existing |= {f"tasks.{queue}.*" for queue in Lane}
    named = set(
        re.findall(
            r"(?<![.{])\b(?:tasks|progress|segments|speakers|partials|live|results|dead_letters)(?:\.(?!md\b)(?:[a-z0-9_]++|\*))++(?!\.<)",
            TEXT,
        )
    )
    assert named - existing == set()
