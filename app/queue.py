"""The queue side of the log: who owns a task id, and since when it waits."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from app.entry import Entry, Facts
from app.lanes import WaitingTasks
from app.task_log import TaskLog
from handlers.errors import AlreadyKnownError, OvertakenError
from handlers.ports import Task
from schemas.diarization import DiarizationTask
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind

TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")  # W3C Trace Context
LONGEST_NUMBER = 20  # digits
REPLAY_OF = "Natscribe-Replay-Of"  # the stream sequence of the `failed` event that a replayed message opens again


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A task message as the task stream holds it; its body where it is at hand."""

    subject: str
    sequence: int
    time: datetime
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def delivered(cls, message: Msg) -> "StoredMessage":
        """Read it from a delivery."""
        metadata = message.metadata
        time = metadata.timestamp.astimezone(UTC)
        return cls(message.subject, metadata.sequence.stream, time, message.headers or {}, message.data)

    @classmethod
    def republished(cls, headers: Mapping[str, str]) -> "StoredMessage":
        """Read it from what the task stream repeats after storing."""
        time = datetime.fromisoformat(headers["Nats-Time-Stamp"]).astimezone(UTC)
        return cls(headers["Nats-Subject"], int(headers["Nats-Sequence"]), time, headers)

    @classmethod
    def fetched(cls, message: RawStreamMsg) -> "StoredMessage":
        """Read it from the stream itself."""
        time = (message.time or datetime.now(UTC)).astimezone(UTC)
        return cls(message.subject or "", message.seq or 0, time, message.headers or {}, message.data or b"")

    @property
    def kind(self) -> Kind:
        """Which kind of task its subject stands for."""
        return Kind(self.subject.split(".")[1])

    @property
    def traceparent(self) -> str | None:
        """The publisher's trace, if it is one: what publishers send is repeated in every event."""
        found = self.headers.get("traceparent", "")
        return found if TRACEPARENT.fullmatch(found) else None

    @property
    def trace_id(self) -> str | None:
        """The publisher's trace, as logs name it."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    @property
    def replay_of(self) -> int | None:
        """The stream sequence of the `failed` event that it opens again."""
        found = self.headers.get(REPLAY_OF, "")
        return int(found) if found.isascii() and found.isdecimal() and len(found) < LONGEST_NUMBER else None

    def facts(self, task: Task | None) -> Facts:
        """What the log of this message begins with; without a task, as it was invalid."""
        return Facts(task, self.sequence, self.subject, self.time, traceparent=self.traceparent)

    def owns(self, entry: Entry) -> bool:
        """Whether the log was opened for this very message."""
        return entry.facts.task_sequence == self.sequence

    def reopens(self, entry: Entry, task: Task) -> bool:
        """Whether the message replays the failure that the log ends with, and nothing but that task."""
        failed = entry.event.state is State.FAILED and entry.stream_sequence == self.replay_of
        return failed and entry.facts.task == task


def kind_of(task: Task) -> Kind:
    """Which kind a task is of."""
    return Kind.DIARIZATION if isinstance(task, DiarizationTask) else Kind.TRANSCRIPTION


class TaskQueue:
    """Opens the logs of stored tasks."""

    def __init__(self, log: TaskLog, waiting: WaitingTasks, *, max_attempts: int) -> None:
        self._log = log
        self._waiting = waiting
        self._max_attempts = max_attempts

    async def accept(self, task: Task, headers: Mapping[str, str]) -> None:
        """Say `queued` as soon as the task is stored, even when every worker is busy."""
        message = StoredMessage.republished(headers)
        position = await self._waiting.position(message.subject)
        if not await self._waiting.holds(message.sequence):
            return  # it was quick: what ended meanwhile, and may be deleted, must not be opened again
        try:
            await self.open(task, message, position=position)
        except AlreadyKnownError:
            return  # whoever picks the message up takes it from the queue

    async def open(self, task: Task, message: StoredMessage, *, position: int | None = None) -> Entry:
        """The last entry of the message's log, opened with `queued` where need be (AlreadyKnownError)."""
        while True:
            last = await self._log.last(task.task_id)
            if last is not None and message.owns(last):
                return last
            if last is not None and not message.reopens(last, task):
                raise AlreadyKnownError(task.task_id)
            try:
                return await self._queued(task, message, last, position)
            except OvertakenError:
                continue  # another worker was faster: read what it wrote

    async def _queued(self, task: Task, message: StoredMessage, last: Entry | None, position: int | None) -> Entry:
        event = ProgressEvent(
            task_id=task.task_id,
            kind=kind_of(task),
            state=State.QUEUED,
            max_attempts=self._max_attempts,
            sequence=last.event.sequence + 1 if last else 1,
            queue_position=position,
            time=datetime.now(UTC),
        )
        facts = message.facts(task)
        return await self._log.append(event, facts, after=last.stream_sequence if last else 0)
