"""Traces: each attempt at a task as OpenTelemetry spans; off unless OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import time
from datetime import datetime

from natscribe.schemas.progress import Stage
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider, Span, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

OFF = NoOpTracerProvider()
_PROPAGATOR = TraceContextTextMapPropagator()


def provider(endpoint: str | None) -> trace.TracerProvider:
    """Create a provider that sends spans to `endpoint`, an OTLP/HTTP address; None: the provider drops all spans."""
    if endpoint is None:
        return OFF
    traces = TracerProvider(resource=Resource.create({SERVICE_NAME: "natscribe"}))
    traces.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return traces


def flush(traces: trace.TracerProvider) -> None:
    """Send all pending spans, and block until they are sent."""
    if isinstance(traces, TracerProvider):
        traces.force_flush()


def current_traceparent() -> str | None:
    """Return the current span as the value of a `traceparent` header; None if tracing is off."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def link_to(earlier: str | None) -> None:
    """Link the current span to an earlier delivery of the task; `earlier`: its `traceparent`; None: add no link."""
    if earlier is not None:
        context = trace.get_current_span(_PROPAGATOR.extract({"traceparent": earlier})).get_span_context()
        trace.get_current_span().add_link(context)


def record_queue_wait(tracer: Tracer, since: datetime) -> None:
    """Record a span for the time that a task has waited in its queue: from `since` until now."""
    tracer.start_span("queue wait", start_time=int(since.timestamp() * 1e9)).end()


class StageSpans:
    """Records each stage of an attempt (fetching, decoding and so on) as a span within the current span."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._stage: tuple[str, Span] | None = None
        self._since = time.time_ns()

    def enter(self, stage: str) -> None:
        """End the span of the previous stage and start the span of `stage`, unless that span is open already."""
        if self._stage is not None and self._stage[0] == stage:
            return
        self.end()
        self._stage = stage, self._tracer.start_span(str(stage))
        self._since = time.time_ns()

    def transcribed(self, processed_seconds: float, segments: int) -> None:
        """Add a span for transcribed windows, i.e. parts of the audio; enter the stage of transcription.

        `processed_seconds`: the end of the last window in the recording. `segments`: the number of their segments. The
        span starts at the end of the previous windows, or at the start of the stage, and ends now.
        """
        self.enter(Stage.TRANSCRIBING)
        inside = trace.set_span_in_context(self._stage[1]) if self._stage else None
        figures = {"audio.processed_seconds": processed_seconds, "segments": segments}
        self._tracer.start_span("windows", inside, start_time=self._since, attributes=figures).end()
        self._since = time.time_ns()

    def end(self) -> None:
        """End the span of the current stage, if there is one."""
        if self._stage is not None:
            self._stage[1].end()
            self._stage = None
