"""Metrics: what a worker counts and measures, for Prometheus. No label contains a task id or a user id."""

from app.telemetry.multiprocess import shared_folder

# isort: split
# `siblings` sets the name of the shared folder, which prometheus_client reads when it is imported.
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from faststream.asgi import AsgiResponse, get
from faststream.asgi.handlers import HttpHandler
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Lane
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.settings import VERSION
from app.telemetry.live_metrics import LiveMetrics
from app.telemetry.storage_metrics import StorageMetrics

# Upper limits of the histograms' buckets: in seconds, and in seconds of work per second of audio.
SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400)
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

ERASED = ("task", "recording")

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


def task_name(queue: Lane) -> str:
    """Return the name that metrics and logs have for tasks of a queue."""
    return f"process_{queue}"


class Meter:
    """The metrics of one worker; `task_name` gives the label of a queue."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._tasks()
        self._queue()
        self.storage = StorageMetrics()
        self.registry.register(self.storage)
        self.live = LiveMetrics(self.registry)
        self._worker()

    def _tasks(self) -> None:
        name, code = ["task_name"], ["task_name", "error_code"]
        self._seconds = self._histogram("task_processing_time_seconds", "Seconds from delivery to settlement.", SECONDS)
        self._factor = self._histogram(
            "natscribe_task_real_time_factor", "Seconds of work per second of audio.", FACTORS
        )
        self.queue_wait = self._histogram(
            "natscribe_task_queue_wait_seconds", "Seconds from publish to the first `running`.", SECONDS
        )
        self._success = self._counter("task_success", "Tasks completed.", name)
        self._failure = self._counter("task_failure", "Tasks failed for good.", code)
        self._retries = self._counter("natscribe_task_retries", "Attempts that are retried.", code)
        self.redeliveries = self._counter(
            "natscribe_task_redeliveries", "Deliveries of tasks that were begun before.", name
        )
        self.duplicates = self._counter(
            "natscribe_task_duplicates", "Messages removed because another message has the same task id.", name
        )
        self.resumes = self._counter("natscribe_task_resumes", "Attempts that continued from a checkpoint.", name)
        self.resumed_seconds = self._counter(
            "natscribe_task_resumed_audio_seconds",
            "Seconds of audio that attempts skipped because of a checkpoint.",
            name,
        )
        self._audio = self._counter("natscribe_task_audio_seconds", "Seconds of audio of completed tasks.", name)
        self._untranscribed = self._counter(
            "natscribe_task_untranscribed_seconds", "Seconds of speech in which no text was found.", name
        )
        self.dead_letters = self._counter("natscribe_dead_letters", "Dead letters stored.", code)
        self.refused_results = self._counter(
            "natscribe_result_requests_refused", "Requests for a result as text that a busy worker has refused.", []
        )
        self._running_task(name)

    def _running_task(self, name: list[str]) -> None:
        self._in_progress = self._gauge("task_in_progress", "Tasks in progress.", name, "livesum")
        self._since = self._gauge(
            "natscribe_task_seconds_since_progress",
            "Seconds since the last progress of the running task.",
            name,
            "livemax",
        )
        self._running = self._gauge(
            "natscribe_task_running_seconds", "Seconds since the running task began.", name, "livemax"
        )

    def _queue(self) -> None:
        name = ["queue_name"]
        self.waiting = self._gauge("task_queue_size", "Messages that wait for a worker.", name)
        self.oldest_waiting = self._gauge(
            "natscribe_task_oldest_waiting_seconds", "Seconds since the oldest waiting message was stored.", name
        )
        self.backlog = self._gauge(
            "natscribe_task_backlog_audio_seconds", "Estimated seconds of audio of the waiting messages.", name
        )
        self.messages = self._gauge(
            "natscribe_stream_messages", "Messages in a queue, of waiting and of running tasks.", name
        )
        self.message_limit = self._gauge("natscribe_stream_messages_limit", "Messages that a queue may hold.", name)
        self.kept_dead_letters = self._gauge("natscribe_dead_letters_kept", "Dead letters in their stream.")
        self.erasures = self._counter("natscribe_erasures", "What was erased because its time was over.", ["what"])
        for what in ERASED:
            self.erasures.labels(what)
        self.failed_erasures = self._counter(
            "natscribe_erasures_failed", "Reminders that were due and could not be carried out; they are repeated.", []
        )
        self.reminders = self._gauge("natscribe_reminders", "Reminders of ended tasks, waiting or due.")
        self.overdue = self._gauge(
            "natscribe_erasure_overdue_seconds",
            "Seconds since the oldest reminder became due that is not settled; 0: none is.",
        )

    def _worker(self) -> None:
        self.attempt_limit = self._gauge(
            "natscribe_task_attempt_limit_seconds", "Seconds that an attempt may stand still (TASK_TIMEOUT)."
        )
        self.model_loaded = self._gauge(
            "natscribe_model_loaded", "Whether a transcription model is loaded.", mode="livemin"
        )
        self.nats_up = self._gauge("natscribe_nats_up", "Whether NATS is connected.", mode="livemin")
        self.redis_up = self._gauge(
            "natscribe_redis_up", "Whether Redis answers and lets the service write.", mode="livemin"
        )
        self.broken_streams = self._gauge(
            "natscribe_streams_broken", "Streams and consumers that the service cannot mend.", mode="livemax"
        )
        self.restored_streams = self._counter(
            "natscribe_streams_restored", "Streams and consumers that a worker has created or put back.", []
        )
        self.redis_used = self._gauge("natscribe_redis_used_bytes", "Memory that Redis occupies.")
        self.redis_limit = self._gauge("natscribe_redis_limit_bytes", "Memory that Redis may occupy; 0: no limit.")
        self.memory = self._gauge("natscribe_worker_memory_bytes", "Resident memory in bytes.", ["part"], "livesum")
        self.memory_limit = self._gauge(
            "natscribe_worker_memory_limit_bytes", "Memory limit of the control group in bytes; 0: no limit."
        )
        build = self._gauge(
            "natscribe_build_info", "Versions of service, Python and engine.", ["version", "python", "engine"]
        )
        build.labels(VERSION, platform.python_version(), version("faster-whisper")).set(1)

    def _counter(self, name: str, what: str, labels: list[str]) -> Counter:
        return _begun(Counter(name, what, labels, registry=self.registry), labels)

    def _histogram(self, name: str, what: str, buckets: tuple[float, ...]) -> Histogram:
        return _begun(Histogram(name, what, ["task_name"], buckets=buckets, registry=self.registry), ["task_name"])

    def _gauge(self, name: str, what: str, labels: list[str] | None = None, mode: str = "livemostrecent") -> Gauge:
        gauge = Gauge(name, what, labels or [], registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]  # a literal there
        return _begun(gauge, labels)

    @contextmanager
    def in_progress(self, queue: Lane) -> Iterator[None]:
        """Count a task as in progress while the body runs."""
        with self._in_progress.labels(task_name(queue)).track_inprogress():
            yield
        self.report_running(queue, since_progress=0.0, running=0.0)

    def report_running(self, queue: Lane, *, since_progress: float, running: float) -> None:
        """Set how many seconds ago the running task began and last made progress; both are 0 if no task runs."""
        self._since.labels(task_name(queue)).set(since_progress)
        self._running.labels(task_name(queue)).set(running)

    def completed(
        self, queue: Lane, seconds: float, audio_seconds: float | None, untranscribed_seconds: float = 0.0
    ) -> None:
        """Count a completed task, its audio, what of it has no text, and the seconds from delivery to settlement."""
        name = task_name(queue)
        self._success.labels(name).inc()
        self._seconds.labels(name).observe(seconds)
        self._untranscribed.labels(name).inc(untranscribed_seconds)
        if audio_seconds:
            self._audio.labels(name).inc(audio_seconds)
            self._factor.labels(name).observe(seconds / audio_seconds)

    def failed(self, queue: Lane, state: State, code: ErrorCode, seconds: float) -> None:
        """Count an attempt that failed: as a retry, or as the failure of its task."""
        if state is State.RETRYING:
            self._retries.labels(task_name(queue), code).inc()
            return
        self._failure.labels(task_name(queue), code).inc()
        self._seconds.labels(task_name(queue)).observe(seconds)

    def exposition(self) -> bytes:
        """Write all metrics in the text format of Prometheus; with `--workers N`, those of all N processes."""
        folder = shared_folder()
        if folder is None:
            return generate_latest(self.registry)
        _forget_dead(folder)
        siblings = CollectorRegistry()
        siblings.register(self.storage)
        MultiProcessCollector(siblings, str(folder))  # type: ignore[no-untyped-call]  # the class has no types
        return generate_latest(siblings)


def _begun(metric: Metric, labels: list[str] | None) -> Metric:
    """Return the metric with a series at 0 for each queue.

    Prometheus sees an increase only from a value it has read before, so a series must exist before its first event.
    """
    if labels == ["task_name"]:
        for queue in Lane:
            metric.labels(task_name(queue))
    return metric


def _forget_dead(folder: Path) -> None:
    """Remove the gauge files of killed worker processes; a killed process cannot remove its own."""
    for process in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        if not Path(f"/proc/{process}").exists():
            mark_process_dead(int(process), str(folder))  # type: ignore[no-untyped-call]  # the function has no types


def metrics_route(meter: Meter) -> HttpHandler:
    """Make the route that Prometheus scrapes."""

    @get(include_in_schema=False)
    async def metrics(_: object) -> AsgiResponse:
        return AsgiResponse(meter.exposition(), 200, {"content-type": CONTENT_TYPE_LATEST})

    return metrics
