"""Metrics: the one module that knows the metrics library."""

from collections.abc import Iterator
from contextlib import contextmanager

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from schemas.progress import State
from schemas.wire import Kind

SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600)


def task_name(kind: Kind) -> str:
    """How tasks of a kind are called in metrics and logs."""
    return f"process_{kind}"


class Meter:
    """Counts what the worker does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "task_processing_time_seconds",
            "Seconds from delivery to settling.",
            ["task_name"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._success = Counter("task_success", "Tasks completed.", ["task_name"], registry=self.registry)
        self._failure = Counter("task_failure", "Tasks failed for good.", ["task_name"], registry=self.registry)
        self._doubled = Counter(
            "task_doubled", "Messages of known task ids, taken from the queue.", ["task_name"], registry=self.registry
        )
        self._queue_size = Gauge(
            "task_queue_size", "Messages in the task stream.", ["queue_name"], registry=self.registry
        )
        self._in_progress = Gauge(
            "task_in_progress", "Tasks this worker is busy with.", ["task_name"], registry=self.registry
        )

    @contextmanager
    def in_progress(self, kind: Kind) -> Iterator[None]:
        """Count a task as in progress while the body runs."""
        with self._in_progress.labels(task_name(kind)).track_inprogress():
            yield

    def ended(self, kind: Kind, state: State | None, seconds: float) -> None:
        """Count how a delivery ended; None where another worker decides."""
        if state is State.COMPLETED:
            self._success.labels(task_name(kind)).inc()
        if state is State.FAILED:
            self._failure.labels(task_name(kind)).inc()
        if state in {State.COMPLETED, State.FAILED}:
            self._seconds.labels(task_name(kind)).observe(seconds)

    def doubled(self, kind: Kind) -> None:
        """Count a message whose task id is known already."""
        self._doubled.labels(task_name(kind)).inc()

    def queue_size(self, queue_name: str, messages: int) -> None:
        """Say how many messages the task stream holds."""
        self._queue_size.labels(queue_name).set(messages)


def metrics_route(meter: Meter) -> HttpHandler:
    """The route that Prometheus reads."""

    @get(include_in_schema=False)
    async def metrics(_: object) -> AsgiResponse:
        return AsgiResponse(generate_latest(meter.registry), 200, {"content-type": CONTENT_TYPE_LATEST})

    return metrics
