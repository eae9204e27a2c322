"""Nothing that clients say or send, no user id either, is in a trace, a log line or a metric, however wrong it is."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest
from nats.js import JetStreamContext
from natscribe.schemas import subjects
from natscribe.schemas.kinds import TASKS
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Input, Priority, TaskType
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.storage.jetstream.tokens import token
from handlers.channels import REQUESTS
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import DEADLINE, eventually

MARK = "Xanthippe"
AUDIO = {"codec": "pcm_s16le", "sample_rate": 8000}
IDS = {"task_id": "t1", "user_id": MARK}
VALID: dict[TaskType, dict[str, Any]] = {
    TaskType.TRANSCRIPTION: IDS | {"audio_file_id": f"{MARK}.flac", "prompt": MARK, "vocabulary": [MARK]},
    TaskType.DIARIZATION: IDS | {"audio_file_id": f"{MARK}.flac"},
    TaskType.LIVE: IDS | {"audio": AUDIO, "idle_seconds": 1, "prompt": MARK, "vocabulary": [MARK]},
}
KNOWN = IDS | {"text": f"{MARK}@example.com", "redact": {"entities": ["all"]}}  # fields of requests
WRONG: list[Any] = [MARK, [MARK], {MARK: MARK}, f"\x00{MARK}", MARK * 1000]


def spoilt(valid: dict[str, Any], model: type[Input]) -> Iterator[dict[str, Any]]:
    """Messages with one wrong field, which has the mark; a value may also happen to be right."""
    for field in model.model_fields:
        for value in WRONG[field == "task_id" :]:  # logs and spans name tasks by their ids
            yield valid | {field: value}
    yield valid | {MARK: MARK}


def requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests of each kind, with the mark in each field."""
    for subject, handler in ((route.kwargs["subject"], route.call) for route in REQUESTS):
        request_type = get_type_hints(handler)["request"]
        for model in get_args(request_type) if isinstance(request_type, UnionType) else [request_type]:
            valid = {name: value for name, value in KNOWN.items() if name in model.model_fields}
            yield from ((subject, request) for request in spoilt(valid, model))


@pytest.mark.foreign  # with traces, replies have a header of theirs
async def test_no_content_is_in_a_trace_a_log_line_or_a_metric(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
    recordings_folder: Path,
    log: io.StringIO,
) -> None:
    # Given a worker whose spans are stored, and whose transcripts contain the mark
    (recordings_folder / f"{MARK}.flac").write_bytes(b"audio")
    engine.text = MARK
    spans, traces = InMemorySpanExporter(), TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    async with start_worker(engine, traces) as worker:
        # When it gets tasks of each kind with the mark in each field: valid ones first, then wrong ones
        for number, (queue, valid) in enumerate(VALID.items()):
            subject = subjects.tasks(queue, Priority.NORMAL)
            wrong = [
                invalid | {"task_id": f"w{number}-{index}"} for index, invalid in enumerate(spoilt(valid, TASKS[queue]))
            ]
            unnamed = [valid | {"task_id": value} for value in WRONG[1:]]
            for task in (valid | {"task_id": f"v{number}"}, *wrong, *unnamed, [MARK], MARK):
                await js.publish(subject, json.dumps(task).encode())
            await js.publish(subject, f'{{"task_id": "{MARK}'.encode())
        for number in range(3):
            headers = {"Nats-Msg-Id": f"v2-{number}", MARK: MARK} | ({"Natscribe-End": "true"} if number == 2 else {})
            await js.publish(subjects.live_audio("v2"), MARK.encode() * 100, headers=headers)
        for task_id in ("v0", "v1", "v2"):
            await publisher.until(task_id, State.COMPLETED)
        await eventually(lambda: queue_is_empty(js), within=DEADLINE)
        # And requests of each kind with the mark in each field
        for subject, request in requests():
            await publisher.nc.request(subject, json.dumps(request).encode(), timeout=DEADLINE)
            await publisher.nc.request(subject, f'{{"task_id": "{MARK}'.encode(), timeout=DEADLINE)
        log_text, counted = log.getvalue(), worker.container.meter.exposition().decode()
        traced = [span.to_json() for span in spans.get_finished_spans()]
    # Then there is much to read, and the mark is nowhere in it
    assert "task_rejected" in log_text
    assert "task_failure_total" in counted
    assert {"tasks.live.normal process", "accepted.tasks.transcription.normal process", "tasks.delete process"} <= {
        json.loads(span)["name"] for span in traced
    }
    for mark in (MARK, token(MARK)):
        assert [line for line in log_text.splitlines() if mark in line] == []
        assert [line for line in counted.splitlines() if mark in line] == []
        assert {json.loads(span)["name"] for span in traced if mark in span} == set()
