"""Creates an OpenTelemetry trace span for each published task, if OpenTelemetry is installed."""

from collections.abc import Generator
from contextlib import contextmanager

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    _HAS_TRACES = False
else:
    _HAS_TRACES = True


@contextmanager
def publishing(subject: str, headers: dict[str, str]) -> Generator[None, None, None]:
    """Start a trace span for the `with` block, which publishes a task, and add the trace context to `headers`.

    Do nothing if OpenTelemetry is not installed.
    """
    if not _HAS_TRACES:
        yield
        return
    with trace.get_tracer("natscribe").start_as_current_span(f"{subject} publish", kind=trace.SpanKind.PRODUCER):
        TraceContextTextMapPropagator().inject(headers)
        yield
