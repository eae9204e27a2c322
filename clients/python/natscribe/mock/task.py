"""A task that the mock plays, i.e. whose execution it simulates: the task message, and the state of the task's log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from natscribe.jetstream.task_messages import TaskMessage
from natscribe.mock.script import ATTEMPTS, Script
from natscribe.schemas import subjects
from natscribe.schemas.headers import TRACEPARENT
from natscribe.schemas.kinds import Result, Task
from natscribe.schemas.progress import ProgressEvent, State, next_event
from natscribe.schemas.requests import TaskStatus, status_of
from natscribe.schemas.task_list import cursor_of
from natscribe.schemas.wire import Priority

MOCK_WORKER = "mock"  # the name of the worker in events: people should see that no service runs


class EndedError(Exception):
    """Raised instead of appending to the log of a task that has ended, e.g. because a client has cancelled it."""


@dataclass(eq=False)
class PlayedTask:
    """A task, and how far its simulated execution has come: its last event, its attempts, segments and result."""

    task_id: str
    sent: Task | None  # None: the message was no valid task
    message: TaskMessage
    last: ProgressEvent | None = None  # the last event of the task's log
    attempts: int = 0  # that have started
    batches: int = 0  # stored segments events: the next attempt continues after them
    silent_batches: int = 0  # of these, without segments
    cuts: dict[int, float] = field(default_factory=dict)  # of a live task: when a client has ended an utterance early
    speakers_events: int = 0  # stored speakers events
    ends: dict[str, int] = field(default_factory=dict)  # by subject: stream sequence of the task's last message there
    started_at: datetime | None = None
    result: Result | None = None  # the whole result
    result_message: Result | None = None  # as published: without segments, if the result is too large for a message
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _append_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.created_at = self.message.time
        self.script = Script.of(self.task_id)

    @property
    def state(self) -> State | None:
        """The state of the task in its last event; None before its first event."""
        return self.last.state if self.last is not None else None

    @property
    def traceparent(self) -> dict[str, str]:
        """The header `traceparent` with the trace context of the task's publisher; empty if the publisher sent none."""
        traceparent = self.message.traceparent
        return {} if traceparent is None else {TRACEPARENT: traceparent}

    @property
    def rank(self) -> tuple[int, int]:
        """The sort key of the task in the queue, by priority and stream sequence: the smallest key starts first."""
        return list(Priority).index(self.message.priority), self.message.sequence

    @property
    def cursor(self) -> str:
        """The cursor that identifies the task in the paginated list of tasks; a newer task has a larger cursor."""
        return cursor_of(self.task_id, self.created_at, self.message.sequence)

    @asynccontextmanager
    async def appending(self) -> AsyncIterator[None]:
        """Lock the task's log until the end of the `with` block, which appends an event or segments to the log.

        Raises:
            EndedError: The task has ended.
        """
        async with self._append_lock:
            if self.ended.is_set():
                raise EndedError
            yield

    async def appended(self) -> None:
        """If an append to the task's log is in progress, wait until it has updated this object.

        Without this, a client that has already received the appended event could still get the earlier status.
        """
        async with self._append_lock:
            pass

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds`, or until the task has ended."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)

    def next_event(self, state: State, **fields: object) -> ProgressEvent:
        """Return the progress event that follows the last one of the log, or its first one.

        `fields`: further fields of the event, by name.
        """
        fields = {"worker": MOCK_WORKER} | fields
        if self.last is None:
            return self.message.first_event(self.task_id, self.sent, state, max_attempts=ATTEMPTS, **fields)
        return next_event(self.last, state, **{"progress": self.last.progress} | fields)

    @property
    def log_end(self) -> int:
        """The stream sequence of the last event in the task's log."""
        return self.ends.get(subjects.progress(self.task_id), 0)

    def note(self, event: ProgressEvent) -> None:
        """Update this object after `event` was appended to the task's log."""
        self.last = event
        if event.state is State.RUNNING:
            self.started_at = self.started_at or event.time
        if event.state.ended:
            self.ended.set()

    def is_replayed_by(self, message: TaskMessage) -> bool:
        """Whether this task has failed, and `message` replays it, i.e. has the same task and refers to the failure."""
        failed = self.state is State.FAILED and message.replay_of == self.log_end
        return failed and self.sent is not None and self.sent == message.task

    def restart(self, message: TaskMessage) -> None:
        """Reset the attempts and stored segments of the task, so that it runs again and completes; its log continues.

        `message`: the one that replays the task.
        """
        self.message, self.ended = message, asyncio.Event()
        self.ends = {subjects.progress(self.task_id): self.log_end}
        self.attempts = self.batches = self.silent_batches = self.speakers_events = 0
        self.cuts.clear()
        self.script = Script()

    def status(self) -> TaskStatus:
        """Return the reply to a `tasks.status` request, but without the task's position in the queue."""
        assert self.last is not None  # noqa: S101 -- a task is known from its first event on
        created_at, started_at = self.created_at, self.started_at
        return status_of(self.last, self.sent, self.message.priority, created_at=created_at, started_at=started_at)
