"""Metrics: what a worker counts and measures, for Prometheus. No label contains a task id or a user id."""

from app.telemetry.siblings import shared_folder

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
from natscribe.schemas.wire import Queue
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


def task_name(queue: Queue) -> str:
    """Return the name that metrics and logs have for tasks of a queue."""
    return f"process_{queue}"


class Meter:
    """The metrics of one worker."""

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
        self._wait = self._histogram(
            "natscribe_task_queue_wait_seconds", "Seconds from publish to the first `running`.", SECONDS
        )
        self._success = self._counter("task_success", "Tasks completed.", name)
        self._failure = self._counter("task_failure", "Tasks failed for good.", code)
        self._retries = self._counter("natscribe_task_retries", "Attempts that are retried.", code)
        self._redeliveries = self._counter(
            "natscribe_task_redeliveries", "Deliveries of tasks that were begun before.", name
        )
        self._duplicates = self._counter(
            "natscribe_task_duplicates", "Messages removed because another message has the same task id.", name
        )
        self._resumes = self._counter("natscribe_task_resumes", "Attempts that continued from a checkpoint.", name)
        self._resumed = self._counter(
            "natscribe_task_resumed_audio_seconds",
            "Seconds of audio that attempts skipped because of a checkpoint.",
            name,
        )
        self._audio = self._counter("natscribe_task_audio_seconds", "Seconds of audio of completed tasks.", name)
        self._untranscribed = self._counter(
            "natscribe_task_untranscribed_seconds", "Seconds of speech in which no text was found.", name
        )
        self._letters = self._counter("natscribe_dead_letters", "Dead letters stored.", code)
        self._refusals = self._counter(
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
        self._waiting = self._gauge("task_queue_size", "Messages that wait for a worker.", name)
        self._oldest = self._gauge(
            "natscribe_task_oldest_waiting_seconds", "Seconds since the oldest waiting message was stored.", name
        )
        self._backlog = self._gauge(
            "natscribe_task_backlog_audio_seconds", "Estimated seconds of audio of the waiting messages.", name
        )
        self._messages = self._gauge(
            "natscribe_stream_messages", "Messages in a queue, of waiting and of running tasks.", name
        )
        self._limit = self._gauge("natscribe_stream_messages_limit", "Messages that a queue may hold.", name)
        self._kept = self._gauge("natscribe_dead_letters_kept", "Dead letters in their stream.")
        self._erasures = self._counter("natscribe_erasures", "What was erased because its time was over.", ["what"])
        for what in ERASED:
            self._erasures.labels(what)
        self._failed_erasures = self._counter(
            "natscribe_erasures_failed", "Reminders that were due and could not be carried out; they are repeated.", []
        )
        self._reminders = self._gauge("natscribe_reminders", "Reminders of ended tasks, waiting or due.")
        self._overdue = self._gauge(
            "natscribe_erasure_overdue_seconds",
            "Seconds since the oldest reminder became due that is not settled; 0: none is.",
        )

    def _worker(self) -> None:
        self._attempt_limit = self._gauge(
            "natscribe_task_attempt_limit_seconds", "Seconds that an attempt may stand still (TASK_TIMEOUT)."
        )
        self._model = self._gauge("natscribe_model_loaded", "Whether a transcription model is loaded.", mode="livemin")
        self._nats = self._gauge("natscribe_nats_up", "Whether NATS is connected.", mode="livemin")
        self._redis = self._gauge(
            "natscribe_redis_up", "Whether Redis answers and lets the service write.", mode="livemin"
        )
        self._broken = self._gauge(
            "natscribe_streams_broken", "Streams and consumers that the service cannot mend.", mode="livemax"
        )
        self._restored = self._counter(
            "natscribe_streams_restored", "Streams and consumers that a worker has created or put back.", []
        )
        self._redis_used = self._gauge("natscribe_redis_used_bytes", "Memory that Redis occupies.")
        self._redis_limit = self._gauge("natscribe_redis_limit_bytes", "Memory that Redis may occupy; 0: no limit.")
        self._memory = self._gauge("natscribe_worker_memory_bytes", "Resident memory in bytes.", ["part"], "livesum")
        self._memory_limit = self._gauge(
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
    def in_progress(self, queue: Queue) -> Iterator[None]:
        """Count a task as in progress while the body runs."""
        with self._in_progress.labels(task_name(queue)).track_inprogress():
            yield
        self.beat(queue, since_progress=0.0, running=0.0)

    def beat(self, queue: Queue, *, since_progress: float, running: float) -> None:
        """Set how many seconds ago the running task began and last made progress; both are 0 if no task runs."""
        self._since.labels(task_name(queue)).set(since_progress)
        self._running.labels(task_name(queue)).set(running)

    def redelivered(self, queue: Queue) -> None:
        """Count a delivery of a task that an earlier delivery had started."""
        self._redeliveries.labels(task_name(queue)).inc()

    def waited(self, queue: Queue, seconds: float) -> None:
        """Note how many seconds a task has waited for its first attempt."""
        self._wait.labels(task_name(queue)).observe(seconds)

    def resumed(self, queue: Queue, audio_seconds: float) -> None:
        """Count an attempt that continues from a checkpoint, and the seconds of audio before that checkpoint."""
        self._resumes.labels(task_name(queue)).inc()
        self._resumed.labels(task_name(queue)).inc(audio_seconds)

    def completed(
        self, queue: Queue, seconds: float, audio_seconds: float | None, untranscribed_seconds: float = 0.0
    ) -> None:
        """Count a completed task, its audio, what of it has no text, and the seconds from delivery to settlement."""
        name = task_name(queue)
        self._success.labels(name).inc()
        self._seconds.labels(name).observe(seconds)
        self._untranscribed.labels(name).inc(untranscribed_seconds)
        if audio_seconds:
            self._audio.labels(name).inc(audio_seconds)
            self._factor.labels(name).observe(seconds / audio_seconds)

    def failed(self, queue: Queue, state: State, code: ErrorCode, seconds: float) -> None:
        """Count an attempt that failed: as a retry, or as the failure of its task."""
        if state is State.RETRYING:
            self._retries.labels(task_name(queue), code).inc()
            return
        self._failure.labels(task_name(queue), code).inc()
        self._seconds.labels(task_name(queue)).observe(seconds)

    def doubled(self, queue: Queue) -> None:
        """Count a message whose task id the service knew already from another message."""
        self._duplicates.labels(task_name(queue)).inc()

    def letter(self, queue: Queue, code: ErrorCode) -> None:
        """Count a dead letter."""
        self._letters.labels(task_name(queue), code).inc()

    def result_refused(self) -> None:
        """Count a request for a result as text that this worker is too busy to answer."""
        self._refusals.inc()

    def queue(  # noqa: PLR0913 -- a queue has all these figures
        self, subject: str, *, waiting: int, oldest: float, audio: float, messages: int, limit: int
    ) -> None:
        """Set the figures of a task queue.

        `waiting` counts messages that wait for a worker, and `messages` also those of running tasks. `oldest` is how
        many seconds ago the oldest waiting message was stored. `audio` is the estimated seconds of audio of the
        waiting messages; a message that does not give its length counts as 0. `limit` is how many messages the
        queue may hold.
        """
        self._waiting.labels(subject).set(waiting)
        self._oldest.labels(subject).set(oldest)
        self._backlog.labels(subject).set(audio)
        self._messages.labels(subject).set(messages)
        self._limit.labels(subject).set(limit)

    def dead_letters(self, kept: int) -> None:
        """Set how many dead letters are kept."""
        self._kept.set(kept)

    def erased(self, what: str) -> None:
        """Count an erasure; `what` is one of ERASED."""
        self._erasures.labels(what).inc()

    def erasure_failed(self) -> None:
        """Count a failed erasure: its reminder was due, and not everything could be erased."""
        self._failed_erasures.inc()

    def reminders(self, count: int, *, overdue: float) -> None:
        """Set how many reminders there are, and how many seconds ago the oldest became due; 0: none is due."""
        self._reminders.set(count)
        self._overdue.set(overdue)

    def worker(self, *, nats: bool, redis: bool, model: bool, attempt_limit: float) -> None:
        """Set whether NATS, Redis and a model are available, and how many seconds an attempt may stand still."""
        self._nats.set(nats)
        self._redis.set(redis)
        self._model.set(model)
        self._attempt_limit.set(attempt_limit)

    def streams(self, *, broken: int, restored: int) -> None:
        """Set how many streams and consumers cannot be mended, and count those that were mended."""
        self._broken.set(broken)
        self._restored.inc(restored)

    def redis_memory(self, *, used: int, limit: int) -> None:
        """Set how many bytes Redis occupies, and how many it may occupy."""
        self._redis_used.set(used)
        self._redis_limit.set(limit)

    def memory(self, *, worker: int, engine: int, limit: int) -> None:
        """Set how many bytes worker and engine occupy, and how many both may occupy together; 0: no limit."""
        self._memory.labels("worker").set(worker)
        self._memory.labels("engine").set(engine)
        self._memory_limit.set(limit)

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
        for queue in Queue:
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
