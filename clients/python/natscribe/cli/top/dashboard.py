"""The state that `natscribe top` shows: the task queues, the running tasks, and the latest failures.

It stores a limited number of running tasks and failures, however many tasks the service has.
"""

from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import datetime, timezone

from natscribe.cli.wording import SILENT_AFTER_S
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.printable import printable
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.task_list import ListedTask, TaskPage
from natscribe.schemas.task_queues import QueueOverview

MAX_RUNNING = 2000  # further running tasks are counted, but not stored
MAX_FAILURES = 20
# A running task has an event every 10 s: after this silence it has ended, and its last event was lost.
LOST_AFTER_S = 60.0
FAILED_BY_CLIENT = "failed (client)"
_NO_QUEUES = QueueOverview(queues=[], dead_letters=0)


@dataclass
class Running:
    """A running task: its last event, or its entry in the list of tasks if no event has arrived yet."""

    latest: ProgressEvent | ListedTask
    received_at: float  # monotonic seconds
    recording: str = ""

    @property
    def worker(self) -> str:
        """The name of the worker that runs the task; empty if unknown."""
        return printable(self.latest.worker or "")

    @property
    def duration_s(self) -> float | None:
        """The duration of the recording, or of the live audio so far, in seconds; None if unknown."""
        if isinstance(self.latest, ProgressEvent) and self.latest.lag_seconds is not None:
            return (self.latest.processed_seconds or 0) + self.latest.lag_seconds
        return self.latest.duration_seconds


@dataclass(frozen=True)
class Failure:
    """A failed attempt of a task; `final`: whether the task has failed with it, as opposed to being retried."""

    task_id: str
    time: datetime
    error: ErrorDetail
    final: bool

    @property
    def reason(self) -> str:
        """The code of the error and its message."""
        return printable(f"{self.error.code}: {self.error.message}")


@dataclass
class Dashboard:
    """The state of the service that `natscribe top` shows: the task queues, the running tasks and the last failures."""

    running: dict[str, Running] = field(default_factory=dict)
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=MAX_FAILURES))
    ended: Counter[str] = field(default_factory=Counter)
    since: datetime = field(default_factory=lambda: datetime.now(timezone.utc))  # `ended` counts from then on
    queue: QueueOverview = _NO_QUEUES  # until the service has replied
    problems: dict[str, str] = field(default_factory=dict)  # a sentence each, by what cannot be read

    def apply(self, event: ProgressEvent, now: float) -> None:
        """Update the dashboard with a progress event of any task; `now` is the monotonic time in seconds."""
        if event.state is State.RUNNING:
            self._set_running(event, now)
            return
        self.running.pop(event.task_id, None)
        if event.state.ended:
            is_client_error = event.error is not None and event.error.code.is_client_error
            self.ended[FAILED_BY_CLIENT if is_client_error else event.state] += 1
        if event.error is not None:
            final = event.state is State.FAILED
            self.failures.appendleft(Failure(event.task_id, event.time, event.error, final=final))

    def reconcile(self, page: TaskPage, requested_at: float, now: float) -> None:
        """Correct the running tasks according to the service's list of running tasks.

        Listed tasks of which no event has arrived yet are added. A task that is not listed has ended: it is removed if
        its last event is older than SILENT_AFTER_S, or than LOST_AFTER_S if `page` is not the whole list.
        `requested_at`, `now`: when the list was requested and received, in monotonic seconds.
        """
        listed = {task.task_id: task for task in page.tasks if task.state is State.RUNNING}
        for task_id, task in listed.items():
            if task_id in self.running:
                self.running[task_id].recording = printable(task.audio_file_id or "")
            elif len(self.running) < MAX_RUNNING:
                self.running[task_id] = Running(task, now, printable(task.audio_file_id or ""))
        lost_after_s = LOST_AFTER_S if page.more_before is not None else SILENT_AFTER_S
        for task_id in self.running.keys() - listed.keys():
            if requested_at - self.running[task_id].received_at > lost_after_s:
                del self.running[task_id]

    def add_failed(self, page: TaskPage) -> None:
        """Add the tasks in `page`, the service's list of failed tasks, unless the dashboard has them already.

        They may have failed before `natscribe top` was started. The dashboard has at most MAX_FAILURES failures.
        """
        known = {failure.task_id for failure in self.failures}
        for task in page.tasks:
            if task.task_id not in known and task.error is not None and len(self.failures) < MAX_FAILURES:
                time = task.finished_at or task.created_at
                self.failures.append(Failure(task.task_id, time, task.error, final=True))

    def _set_running(self, event: ProgressEvent, now: float) -> None:
        earlier = self.running.get(event.task_id)
        if earlier is not None or len(self.running) < MAX_RUNNING:
            self.running[event.task_id] = Running(event, now, earlier.recording if earlier is not None else "")
