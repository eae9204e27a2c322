"""The tables of docs/contract.md agree with the code."""

import re
from pathlib import Path

import pytest
from nats.js.api import RetentionPolicy
from natscribe.jetstream import cloud_events
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.jetstream.streams import DAY_S, TASK_TTL_S, stored_subjects, task_subjects
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import FrameHeaders
from natscribe.schemas.live import (
    MAX_FRAME_BYTES,
    MAX_FRAME_S,
    MIN_FRAME_S,
)
from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.channels import CHANNELS
from app.storage.redis import keys
from app.tasks.projection import projection
from tools.contract_tables import fields_of, with_tables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/contract.md").read_text(encoding="utf-8")
CODE = re.compile(r"`([^`]+)`")
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


def days(seconds: float | None) -> str:
    number = (seconds or 0) / DAY_S
    return f"{number:g} day{'' if number == 1 else 's'}"


def test_the_tables_that_follow_from_the_code_are_up_to_date() -> None:
    assert with_tables(TEXT) == TEXT, "run: make spec"


def test_the_streams() -> None:
    queues, settings = [f"tasks.{queue}.*" for queue in TaskType], Settings(_env_file=None)
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
    assert task_subjects() == [f"tasks.{queue}.{priority}" for priority in Priority for queue in TaskType]


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


def test_the_headers_of_a_frame() -> None:
    sent = {field.alias for field in FrameHeaders.model_fields.values()}
    assert {quoted(header)[0] for header, _ in table("frame header")} == sent


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


def test_the_headers_of_events() -> None:
    documented_headers = {header for cell, _ in table("header") for header in quoted(cell)}
    sent = cloud_events.headers("progress", "natscribe/worker", "id", task_id="t1")
    assert documented_headers == sent.keys() | {"traceparent"}


def test_every_named_subject_exists() -> None:
    existing = {
        *task_subjects(),
        *(channel.subject for channel in CHANNELS if channel.replies),
        *map(subjects.dead_letters, ("*", *Kind)),
    }
    of_tasks = (subjects.progress, subjects.segments, subjects.results, subjects.live_audio, subjects.partials)
    existing |= {subject(task_id) for subject in of_tasks for task_id in ("*", "t1")} | {subjects.speakers("*")}
    existing |= {f"tasks.{queue}.*" for queue in TaskType}
    named = set(
        re.findall(
            r"(?<![.{])\b(?:tasks|progress|segments|speakers|partials|live|results|dead_letters)(?:\.(?!md\b)(?:[a-z0-9_]++|\*))++(?!\.<)",
            TEXT,
        )
    )
    assert named - existing == set()
