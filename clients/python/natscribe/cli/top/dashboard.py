"""What `natscribe top` knows: the task queues, the tasks that run, and what has failed lately.

It keeps only what can be shown, however many tasks wait or have ended.
"""

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from natscribe.cli.wording import SILENT_AFTER_S, printable
from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.task_list import ListedTask, TaskPage
from natscribe.schemas.task_queues import QueueOverview

MOST_RUNNING = 2000  # further running tasks are counted, but not kept
MOST_FAILURES = 20
# A running task has an event every 10 s: after this silence it has ended, and the event of its end was lost.
LOST_AFTER_S = 60.0

_ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)


@dataclass
class Running:
    """A task that runs."""

    stage: Stage | None
    progress: int
    attempt: int
    received_at: float  # monotonic seconds
    recording: str = ""
    worker: str = ""
    duration_s: float | None = None
    eta_s: float | None = None
    lag_s: float | None = None  # of a live task, whose length is that of its sound up to now


@dataclass(frozen=True)
class Failure:
    """A task whose attempt has failed; `final` if it was the last attempt."""

    task_id: str
    time: datetime
    reason: str
    final: bool


@dataclass
class Dashboard:
    """All that `natscribe top` shows; `apply` and `reconcile` update it."""

    running: dict[str, Running] = field(default_factory=dict)
    failures: deque[Failure] = field(default_factory=lambda: deque(maxlen=MOST_FAILURES))
    ended: Counter[State] = field(default_factory=Counter)
    since: datetime = field(default_factory=lambda: datetime.now(timezone.utc))  # from then on `ended` counts
    queue: QueueOverview | None = None
    troubles: dict[str, str] = field(default_factory=dict)  # a sentence each, by what cannot be read
    changed: bool = True

    def apply(self, event: ProgressEvent, now: float) -> None:
        """Update the board with an event of one of the tasks; `now` is the monotonic time in seconds."""
        self.changed = True
        if event.state is State.RUNNING:
            self._run(event, now)
            return
        self.running.pop(event.task_id, None)
        if event.state in _ENDED:
            self.ended[event.state] += 1
        if event.error is not None:
            reason = printable(f"{event.error.code}: {event.error.message}")
            final = event.state is State.FAILED
            self.failures.appendleft(Failure(event.task_id, event.time, reason, final=final))

    def reconcile(self, page: TaskPage, requested_at: float, now: float) -> None:
        """Compare with the service's list of running tasks: add tasks without an event so far, remove ended tasks.

        An event may be lost, so a task has ended if the list lacks it and its last event is old.
        """
        self.changed = True
        listed = {task.task_id: task for task in page.tasks if task.state is State.RUNNING}
        for task_id, task in listed.items():
            known = self.running.get(task_id)
            recording = printable(task.audio_file_id or "")
            if known is not None:
                known.recording = recording
            elif len(self.running) < MOST_RUNNING:
                self.running[task_id] = _running(task, now, recording)
        complete = page.more_before is None
        for task_id, known in list(self.running.items()):
            silent = requested_at - known.received_at
            if task_id not in listed and (silent > LOST_AFTER_S or (complete and silent > SILENT_AFTER_S)):
                del self.running[task_id]

    def note_failed(self, page: TaskPage) -> None:
        """Add tasks that had failed before the board received its first event."""
        heard = {failure.task_id for failure in self.failures}
        for task in page.tasks:
            if task.task_id not in heard and task.error is not None and len(self.failures) < MOST_FAILURES:
                reason = printable(f"{task.error.code}: {task.error.message}")
                time = task.finished_at or task.created_at
                self.failures.append(Failure(task.task_id, time, reason, final=True))
        self.changed = True

    def _run(self, event: ProgressEvent, now: float) -> None:
        known = self.running.get(event.task_id)
        if known is None and len(self.running) >= MOST_RUNNING:
            return
        self.running[event.task_id] = replace(
            _running(event, now, known.recording if known is not None else ""),
            duration_s=event.duration_seconds if event.lag_seconds is None else _sound_s(event),
        )


def _sound_s(event: ProgressEvent) -> float:
    """Return the seconds of sound that a live task has up to now."""
    return (event.processed_seconds or 0) + (event.lag_seconds or 0)


def _running(told: ProgressEvent | ListedTask, now: float, recording: str) -> Running:
    return Running(
        stage=told.stage,
        progress=told.progress,
        attempt=told.attempt,
        received_at=now,
        recording=recording,
        worker=printable(told.worker or ""),
        duration_s=told.duration_seconds,
        eta_s=told.eta_seconds,
        lag_s=told.lag_seconds,
    )
