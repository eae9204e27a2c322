"""The metrics of a worker for Prometheus. No label contains a task id or a user id."""

from app.runtime.telemetry.multiprocess import shared_folder

# isort: split
# `multiprocess` sets the name of the shared folder, which prometheus_client reads when it is imported.
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
from natscribe.schemas.wire import TaskType
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from app.runtime.telemetry.fleet_metrics import FleetMetrics, NaNFilter
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.settings import VERSION

# Upper limits of the histograms' buckets: in seconds, and as real-time factors.
SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14400)
FACTORS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)

ERASED = ("task", "recording")

Metric = TypeVar("Metric", Counter, Gauge, Histogram)


def task_name(task_type: TaskType) -> str:
    """Return the value of the label `task_name` for the tasks of a type (transcription, diarization or live)."""
    return f"process_{task_type}"


class Meter:
    """Creates and updates the Prometheus metrics of one worker."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.fleet = FleetMetrics(self.registry)
        self._tasks()
        self._queue()
        self.live = LiveMetrics(self.registry)
        self._worker()

    def _tasks(self) -> None:
        counter, histogram, name, code = self._counter, self._histogram, ["task_name"], ["task_name", "error_code"]
        self._seconds = histogram("task_processing_time_seconds", "Seconds from delivery to settlement.", SECONDS)
        self._factor = histogram("natscribe_task_real_time_factor", "Seconds of work per second of audio.", FACTORS)
        self.queue_wait = histogram(
            "natscribe_task_queue_wait_seconds", "Seconds from publication to the first attempt.", SECONDS
        )
        self._success = counter("task_success", "Completed tasks.", name)
        self._failure = counter("task_failure", "Tasks that have finally failed.", code)
        self._retries = counter("natscribe_task_retries", "Failed attempts that are followed by a retry.", code)
        self.redeliveries = counter(
            "natscribe_task_redeliveries", "Deliveries of tasks that were started before.", name
        )
        self.duplicates = counter("natscribe_task_duplicates", "Removed messages with the id of another task.", name)
        self.resumes = counter("natscribe_task_resumes", "Attempts that have continued from a checkpoint.", name)
        self.resumed_seconds = counter(
            "natscribe_task_resumed_audio_seconds", "Seconds of audio skipped because of a checkpoint.", name
        )
        self._audio = counter("natscribe_task_audio_seconds", "Seconds of audio of completed tasks.", name)
        self._untranscribed = counter("natscribe_task_untranscribed_seconds", "Seconds of speech without text.", name)
        self.dead_letters = counter("natscribe_dead_letters", "Stored dead letters.", code)
        self.refused_results = counter(
            "natscribe_result_requests_refused", "Requests for a text format that a busy worker has refused.", []
        )
        self.redacted = counter("natscribe_redacted_entities", "Replaced personal data.", ["type"])
        self._in_progress = self._gauge("task_in_progress", "Tasks in progress.", name, "livesum")
        self._since = self._gauge(
            "natscribe_task_seconds_since_progress", "Seconds since the running task made progress.", name, "livemax"
        )
        self._running = self._gauge(
            "natscribe_task_running_seconds", "Seconds since the running task started.", name, "livemax"
        )

    def _queue(self) -> None:
        gauge, name = self.fleet.gauge, ["queue_name"]
        self.waiting = gauge("task_queue_size", "Messages that wait for a worker.", name)
        self.scheduled = gauge("natscribe_task_scheduled", "Tasks that wait until their `not_before`.", name)
        self.oldest_waiting = gauge("natscribe_task_oldest_waiting_seconds", "Age of the oldest waiting message.", name)
        self.backlog = gauge("natscribe_task_backlog_audio_seconds", "Estimated seconds of waiting audio.", name)
        self.messages = gauge("natscribe_stream_messages", "Messages of waiting and running tasks in a queue.", name)
        self.message_limit = gauge("natscribe_stream_messages_limit", "Largest number of messages in a queue.", name)
        self.users_waiting = gauge("natscribe_users_waiting", "Users of whom tasks wait.")
        self.fairness = gauge(
            "natscribe_user_fairness_ratio",
            "Jain's index of the audio granted to users who have waited for the last five minutes; 1: equal shares.",
        )
        self.longest_user_wait = gauge(
            "natscribe_user_longest_wait_seconds", "Longest wait of a user of whom tasks wait and none runs."
        )
        self.stored_dead_letters = gauge("natscribe_dead_letters_kept", "Dead letters in their stream.")
        self.erasures = self._counter(
            "natscribe_erasures", "Erased tasks and recordings whose time was over.", ["what"]
        )
        for erased in ERASED:
            self.erasures.labels(erased)
        self.failed_erasures = self._counter("natscribe_erasures_failed", "Failed erasures, which are repeated.", [])
        self.reminders = gauge("natscribe_reminders", "Reminders of ended tasks, scheduled or due.")
        self.overdue = gauge(
            "natscribe_erasure_overdue_seconds",
            "Seconds since the oldest unsettled reminder became due; 0: none is due.",
        )

    def _worker(self) -> None:
        gauge = self._gauge
        self.attempt_limit = gauge(
            "natscribe_task_attempt_limit_seconds", "Seconds that an attempt may run without progress (TASK_TIMEOUT)."
        )
        self.model_loaded = gauge("natscribe_model_loaded", "Whether a speech model is loaded.", mode="livemin")
        self.nats_up = gauge("natscribe_nats_up", "Whether the worker is connected to NATS.", mode="livemin")
        self.redis_up = gauge("natscribe_redis_up", "Whether Redis replies and accepts writes.", mode="livemin")
        self.broken_streams = self.fleet.gauge(
            "natscribe_streams_broken", "Streams and consumers that the service cannot restore."
        )
        self.restored_streams = self._counter(
            "natscribe_streams_restored", "Streams and consumers that a worker has created or restored.", []
        )
        self.redis_used = self.fleet.gauge("natscribe_redis_used_bytes", "Memory that Redis occupies.")
        self.redis_limit = self.fleet.gauge("natscribe_redis_limit_bytes", "Memory that Redis may occupy; 0: no limit.")
        self.memory = gauge("natscribe_worker_memory_bytes", "Resident memory of a process.", ["part"], "livesum")
        self.memory_limit = gauge(
            "natscribe_worker_memory_limit_bytes", "Memory limit of the control group in bytes; 0: no limit."
        )
        labels = ["version", "python", "engine"]
        build = gauge("natscribe_build_info", "Versions of the service, Python and the engine.", labels)
        build.labels(VERSION, platform.python_version(), version("faster-whisper")).set(1)

    def _counter(self, name: str, help_text: str, labels: list[str]) -> Counter:
        return _with_series(Counter(name, help_text, labels, registry=self.registry), labels)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...]) -> Histogram:
        return _with_series(
            Histogram(name, help_text, ["task_name"], buckets=buckets, registry=self.registry), ["task_name"]
        )

    def _gauge(self, name: str, help_text: str, labels: list[str] | None = None, mode: str = "livemostrecent") -> Gauge:
        gauge = Gauge(name, help_text, labels or [], registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]  # a literal there
        return _with_series(gauge, labels)

    @contextmanager
    def in_progress(self, task_type: TaskType) -> Iterator[None]:
        """Count a task of the type `task_type` as running until the `with` block ends."""
        with self._in_progress.labels(task_name(task_type)).track_inprogress():
            yield
        self.report_running(task_type, since_progress=0.0, running=0.0)

    def report_running(self, task_type: TaskType, *, since_progress: float, running: float) -> None:
        """Set the gauges of a running task of the type `task_type`: how long it has run, and how long without progress.

        Both are in seconds. If several tasks of the type run in this process, the gauges show the task reported last.
        They are set to 0 when a task of the type ends.
        """
        self._since.labels(task_name(task_type)).set(since_progress)
        self._running.labels(task_name(task_type)).set(running)

    def completed(
        self, task_type: TaskType, seconds: float, audio_seconds: float | None, untranscribed_seconds: float = 0.0
    ) -> None:
        """Count a completed task, its audio, and its speech for which no words were found.

        `seconds`: how long the worker took. `audio_seconds`: the duration of the audio; None: unknown.
        `untranscribed_seconds`: the duration of the speech without words.
        """
        name = task_name(task_type)
        self._success.labels(name).inc()
        self._seconds.labels(name).observe(seconds)
        self._untranscribed.labels(name).inc(untranscribed_seconds)
        if audio_seconds:
            self._audio.labels(name).inc(audio_seconds)
            self._factor.labels(name).observe(seconds / audio_seconds)

    def failed(self, task_type: TaskType, state: State, code: ErrorCode, seconds: float | None) -> None:
        """Count a failed attempt at a task: as a retry, or as a failed task if `state` says that no retry follows.

        `seconds`: how long the worker took; None: the task has failed while it waited.
        """
        if state is State.RETRYING:
            self._retries.labels(task_name(task_type), code).inc()
            return
        self._failure.labels(task_name(task_type), code).inc()
        if seconds is not None:
            self._seconds.labels(task_name(task_type)).observe(seconds)

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus; with `--workers N`, those of all N processes."""
        folder = shared_folder()
        if folder is None:
            return generate_latest(NaNFilter(self.registry))
        remove_dead_processes(folder)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # the class has no types
        return generate_latest(NaNFilter(registry))


def _with_series(metric: Metric, labels: list[str] | None) -> Metric:
    """Return a metric, with a series at 0 for each task type if its only label is `task_name`.

    Prometheus detects an increase only between two values, so a series must exist before its first event. `labels`: the
    names of the metric's labels.
    """
    if labels == ["task_name"]:
        for task_type in TaskType:
            metric.labels(task_name(task_type))
    return metric


def remove_dead_processes(folder: Path) -> None:
    """Remove the gauge files that killed worker processes have left in the shared folder."""
    for process in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*.db")}:
        if not Path(f"/proc/{process}").exists():
            mark_process_dead(int(process), str(folder))  # type: ignore[no-untyped-call]  # the function has no types


def metrics_route(meter: Meter) -> HttpHandler:
    """Create the HTTP route `/metrics`, which Prometheus scrapes."""

    @get(include_in_schema=False)
    async def metrics(_: object) -> AsgiResponse:
        return AsgiResponse(meter.exposition(), 200, {"content-type": CONTENT_TYPE_LATEST})

    return metrics
