"""Traces: a task's way through the service as spans, off until OTEL_EXPORTER_OTLP_ENDPOINT is set."""

from datetime import datetime

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracerProvider, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

NANOSECONDS = 1_000_000_000  # nanoseconds
OFF = NoOpTracerProvider()
_PROPAGATOR = TraceContextTextMapPropagator()


def provider(endpoint: str | None) -> trace.TracerProvider:
    """Where spans go: to the collector at this OTLP/HTTP endpoint, or nowhere."""
    if endpoint is None:
        return OFF
    found = TracerProvider(resource=Resource.create({SERVICE_NAME: "natscribe"}))
    found.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return found


def flush(traces: trace.TracerProvider) -> None:
    """Send what is not sent yet; blocks."""
    if isinstance(traces, TracerProvider):
        traces.force_flush()


def current() -> str | None:
    """The span that runs, as a `traceparent`; None where nothing is traced."""
    if not trace.get_current_span().is_recording():
        return None
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier.get("traceparent")


def link_to(earlier: str | None) -> None:
    """Link the running span to one of an earlier delivery of the same task."""
    if earlier is not None:
        found = trace.get_current_span(_PROPAGATOR.extract({"traceparent": earlier})).get_span_context()
        trace.get_current_span().add_link(found)


def waited(tracer: Tracer, since: datetime) -> None:
    """A span for the time in the queue, which is over."""
    tracer.start_span("queue wait", start_time=int(since.timestamp() * NANOSECONDS)).end()
