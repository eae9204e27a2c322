"""The task log: the one module that appends to a task's subjects, each time by compare-and-set."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from nats.errors import ConnectionReconnectingError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError, NoStreamResponseError, NotFoundError, ServerError, ServiceUnavailableError
from pydantic import TypeAdapter

from handlers.channels import StreamNames
from handlers.errors import OvertakenError, PassingError
from handlers.ports import Result, Task
from schemas import subjects
from schemas.errors import ErrorCode
from schemas.progress import ProgressEvent
from schemas.transcription import SegmentsEvent

WRONG_LAST_SEQUENCE: Final = 10071  # err_code of nats-server: somebody else has appended
GIVE_UP_AFTER: Final = 60.0  # seconds without an acknowledgement
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0

TASK: TypeAdapter[Task] = TypeAdapter(Task)
RESULT: TypeAdapter[Result] = TypeAdapter(Result)

_UNANSWERED = (
    NatsTimeoutError,
    NoStreamResponseError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
    ServerError,
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What every entry carries in its headers, so that the last one alone tells the task's status."""

    task: Task | None  # null: the message was invalid
    task_sequence: int  # of the task message that owns the log, in the task stream
    subject: str  # of the task message: its lane
    created_at: datetime
    started_at: datetime | None = None
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        """Write the facts as message headers (ASCII)."""
        found = {
            "Natscribe-Task": TASK.dump_json(self.task, ensure_ascii=True).decode() if self.task else None,
            "Natscribe-Task-Sequence": str(self.task_sequence),
            "Natscribe-Task-Subject": self.subject,
            "Natscribe-Created-At": self.created_at.isoformat(),
            "Natscribe-Started-At": self.started_at.isoformat() if self.started_at else None,
            "traceparent": self.traceparent,
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Facts":
        """Read the facts back from message headers."""
        task, started_at = headers.get("Natscribe-Task"), headers.get("Natscribe-Started-At")
        return cls(
            task=TASK.validate_json(task) if task else None,
            task_sequence=int(headers["Natscribe-Task-Sequence"]),
            subject=headers["Natscribe-Task-Subject"],
            created_at=datetime.fromisoformat(headers["Natscribe-Created-At"]),
            started_at=datetime.fromisoformat(started_at) if started_at else None,
            traceparent=headers.get("traceparent"),
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it lies in the log."""

    event: ProgressEvent
    facts: Facts
    stream_sequence: int


class TaskLog:
    """Appends to and reads `progress.*`, `segments.*` and `results.*` in the name of one worker."""

    def __init__(self, js: JetStreamContext, names: StreamNames, worker: str) -> None:
        self._js = js
        self._names = names
        self.worker = worker

    @property
    def source(self) -> str:
        """The `ce-source` of this worker's own events."""
        return f"natscribe/{self.worker}"

    async def last(self, task_id: str) -> Entry | None:
        """The last entry of a task's log, None where the task is unknown."""
        message = await self._last_message(self._names.progress, subjects.progress(task_id))
        if message is None:
            return None
        return Entry(
            event=ProgressEvent.model_validate_json(message.data or b""),
            facts=Facts.read(message.headers or {}),
            stream_sequence=message.seq or 0,
        )

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        """Append an event behind stream sequence `after`, 0 for the first (OvertakenError, PassingError)."""
        sequence = await self._append(
            subjects.progress(event.task_id),
            event.model_dump_json().encode(),
            self._cloud_event("progress", event.task_id, event.time) | facts.headers(),
            after=after,
            stream=self._names.progress,
        )
        return Entry(event, facts, sequence)

    async def append_segments(self, event: SegmentsEvent, facts: Facts, *, after: int) -> int:
        """Append a batch of segments behind stream sequence `after` (OvertakenError, PassingError)."""
        return await self._append(
            subjects.segments(event.task_id),
            event.model_dump_json().encode(),
            self._cloud_event("segments", event.task_id, datetime.now(UTC)) | facts.headers(),
            after=after,
            stream=self._names.segments,
        )

    async def append_result(self, result: Result, facts: Facts) -> None:
        """Publish the one result that a task ever has (OvertakenError, PassingError)."""
        await self._append(
            subjects.results(result.task_id),
            result.model_dump_json().encode(),
            self._cloud_event("result", result.task_id, result.created_at) | facts.headers(),
            after=0,
            stream=self._names.results,
        )

    async def segments(self, task_id: str) -> AsyncIterator[tuple[SegmentsEvent, int]]:
        """All batches of segments in order, each with its stream sequence."""
        at = 1
        while True:
            try:
                message = await self._js.get_msg(
                    self._names.segments, at, subject=subjects.segments(task_id), direct=True, next=True
                )
            except NotFoundError:
                return
            yield SegmentsEvent.model_validate_json(message.data or b""), message.seq or 0
            at = (message.seq or 0) + 1

    async def result(self, task_id: str) -> Result | None:
        """The result as it was published, None where there is none."""
        message = await self._last_message(self._names.results, subjects.results(task_id))
        return RESULT.validate_json(message.data or b"") if message else None

    def _cloud_event(self, what: str, task_id: str, time: datetime) -> dict[str, str]:
        """CloudEvents 1.0 attributes in binary mode; the id is also what the stream deduplicates by."""
        event_id = uuid4().hex
        return {
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "Nats-Msg-Id": event_id,
            "ce-source": self.source,
            "ce-type": f"natscribe.{what}.v1",
            "ce-subject": task_id,
            "ce-time": time.isoformat(),
            "content-type": "application/json",
        }

    async def _last_message(self, stream: str, subject: str) -> RawStreamMsg | None:
        try:
            return await self._js.get_last_msg(stream, subject, direct=True)
        except NotFoundError:
            return None

    async def _append(self, subject: str, payload: bytes, headers: dict[str, str], *, after: int, stream: str) -> int:
        headers = headers | {"Nats-Expected-Last-Subject-Sequence": str(after)}
        try:
            return await self._publish(subject, payload, headers, stream)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            last = await self._last_message(stream, subject)
            if last is not None and (last.headers or {}).get("ce-id") == headers["ce-id"]:
                return last.seq or 0  # our own: only its acknowledgement was lost
            raise OvertakenError(subject) from error

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str], stream: str) -> int:
        """Publish until it is acknowledged: the same id makes the repetition harmless."""
        give_up_at = asyncio.get_running_loop().time() + GIVE_UP_AFTER
        pause = FIRST_PAUSE
        while True:
            try:
                return (await self._js.publish(subject, payload, stream=stream, headers=dict(headers))).seq
            except _UNANSWERED as error:
                if asyncio.get_running_loop().time() > give_up_at:
                    message = f"JetStream does not acknowledge what is published to {subject}: check the NATS server."
                    raise PassingError(ErrorCode.INTERNAL, message) from error
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
