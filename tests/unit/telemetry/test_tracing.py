"""The stages of an attempt as spans."""

from datetime import UTC, datetime

import pytest
from natscribe.schemas.progress import Stage
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer

from app.runtime.telemetry import tracing
from app.runtime.telemetry.tracing import OFF, StageSpans


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(spans: InMemorySpanExporter) -> Tracer:
    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(spans))
    return traces.get_tracer("tests")


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


def test_each_stage_is_one_span(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    # When an attempt goes through its stages, and reports one of them twice
    stages = StageSpans(tracer)
    stages.enter(Stage.FETCHING)
    for stage in (Stage.FETCHING, Stage.DECODING, Stage.TRANSCRIBING):
        stages.enter(stage)
    for _ in range(2):
        stages.transcribed(10.0, 0)
    stages.enter("storing")
    stages.end()
    stages.end()
    # Then each stage is a span, in their order, and windows are spans inside
    names = [span.name for span in spans.get_finished_spans()]
    assert names == ["fetching", "decoding", "windows", "windows", "transcribing", "storing"]
    # And each group of windows begins where the one before has ended
    first, second = named(spans, "windows")
    (whole,) = named(spans, "transcribing")
    assert first.start_time is not None
    assert first.end_time is not None
    assert second.start_time is not None
    assert whole.start_time is not None
    assert abs(first.start_time - whole.start_time) < 10**9
    assert abs(second.start_time - first.end_time) < 10**9
    assert [span.parent and span.parent.span_id for span in (first, second)] == [whole.context.span_id] * 2
    assert first.attributes == {"audio.processed_seconds": 10.0, "segments": 0}


def test_the_wait_in_a_queue_is_a_span_in_the_past(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    tracing.record_queue_wait(tracer, datetime(2026, 11, 26, tzinfo=UTC))
    (span,) = named(spans, "queue wait")
    assert span.start_time == int(datetime(2026, 11, 26, tzinfo=UTC).timestamp()) * 10**9


def test_a_later_delivery_is_linked_to_the_earlier_one(tracer: Tracer, spans: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("first"):
        earlier = tracing.current_traceparent()
    with tracer.start_as_current_span("second"):
        tracing.link_to(earlier)
        tracing.link_to(None)
    first, second = spans.get_finished_spans()
    assert [link.context.span_id for link in second.links] == [first.context.span_id]
    assert earlier is not None
    assert f"{first.context.trace_id:032x}" in earlier


def test_without_tracing_there_is_no_span() -> None:
    assert tracing.provider(None) is OFF
    with trace.use_span(trace.INVALID_SPAN):
        assert tracing.current_traceparent() is None
    tracing.flush(OFF)
