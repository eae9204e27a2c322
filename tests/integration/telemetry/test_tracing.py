"""A task's way through the service, as spans."""

import json
from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import Worker
from app.runtime.errors import TransientError
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PROCESS = "tasks.transcription.normal process"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def worker(start_worker: StartWorker, engine: FakeEngine, spans: InMemorySpanExporter) -> AsyncIterator[Worker]:
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    async with start_worker(engine, traces) as service:
        yield service


async def publish(js: JetStreamContext) -> None:
    task = {"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7, "diarize": True}
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    await js.publish("tasks.transcription.normal", json.dumps(task).encode(), headers=headers)


async def of_the_task(spans: InMemorySpanExporter, deliveries: int = 1) -> list[ReadableSpan]:
    """The spans of the publisher's trace, when the deliveries have ended."""

    async def finished_spans() -> list[ReadableSpan]:
        of_trace = [span for span in spans.get_finished_spans() if f"{span.context.trace_id:032x}" == TRACE]
        return of_trace if len([span for span in of_trace if span.name == PROCESS]) == deliveries else []

    return await eventually(finished_spans)


async def test_each_part_of_the_work_is_a_span(
    publisher: Publisher, worker: Worker, js: JetStreamContext, spans: InMemorySpanExporter
) -> None:
    # Given a task whose publisher traces it
    await publish(js)
    await publisher.until("t1", State.COMPLETED)
    # Then its trace continues through the worker
    task_spans = await of_the_task(spans)
    names = [span.name for span in task_spans]
    stages = {"fetching", "decoding", "transcribing", "diarizing", "merging", "storing"}
    assert {"queue wait", "windows", *stages} <= set(names)
    assert names.count("windows") == 3
    # And each part lies below the delivery, each window below its stage
    process = next(span for span in task_spans if span.name == PROCESS)
    transcribe = next(span for span in task_spans if span.name == "transcribing")
    for span in task_spans:
        if span.name in {"queue wait", *stages}:
            assert span.parent is not None
            assert span.parent.span_id == process.context.span_id, span.name
        if span.name == "windows":
            assert span.parent is not None
            assert span.parent.span_id == transcribe.context.span_id


async def test_a_redelivery_is_linked_to_the_delivery_before(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, spans: InMemorySpanExporter
) -> None:
    # Given a task that fails once
    engine.fail_with = [TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")]
    await publish(js)
    await publisher.until("t1", State.COMPLETED)
    # Then its second delivery names the first
    task_spans = await of_the_task(spans, deliveries=2)
    first, second = (span for span in task_spans if span.name == PROCESS)
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert not first.links


async def test_without_an_endpoint_nothing_is_traced(
    publisher: Publisher, start_worker: StartWorker, js: JetStreamContext
) -> None:
    async with start_worker(FakeEngine()):
        await publish(js)
        await publisher.until("t1", State.COMPLETED)
    last = await js.get_last_msg("transcription_progress", "progress.t1")
    assert "Natscribe-Span" not in (last.headers or {})
