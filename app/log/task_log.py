"""The task log: the one module that appends to a task's subjects, each time by compare-and-set."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from pydantic import TypeAdapter

from app.errors import OvertakenError
from app.jetstream.stream_log import StreamLog
from app.log import cloud_events
from app.log.entry import Entry, Facts, refuse_copy
from app.updates import Result
from schemas import subjects
from schemas.errors import ErrorDetail
from schemas.headers import AUDIO_SHA256, TASK_SEQUENCE
from schemas.progress import ProgressEvent, State
from schemas.stream_names import StreamNames
from schemas.transcription import SegmentsEvent

RESULT: TypeAdapter[Result] = TypeAdapter(Result)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of segments as it lies in the log."""

    event: SegmentsEvent
    audio_sha256: str
    stream_sequence: int
    task_sequence: int  # of the task message that it was found for: an id may be used again

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Batch":
        """Read a batch as the stream holds it (ValueError)."""
        event, headers = SegmentsEvent.model_validate_json(message.data or b""), message.headers or {}
        refuse_copy(message, event.task_id)
        return cls(event, headers.get(AUDIO_SHA256, ""), message.seq or 0, int(headers.get(TASK_SEQUENCE, "")))


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A result as it lies in its stream."""

    result: Result
    task_sequence: int  # of the task message that it was found for: an id may be used again
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "StoredResult":
        """Read a result as the stream holds it (ValueError)."""
        return cls(read_result(message), int((message.headers or {}).get(TASK_SEQUENCE, "")), message.seq or 0)


def read_result(message: RawStreamMsg) -> Result:
    """Read a result as the stream holds it (ValueError)."""
    result = RESULT.validate_json(message.data or b"")
    refuse_copy(message, result.task_id)
    return result


class TaskLog:
    """Appends to and reads `progress.*`, `segments.*` and `results.*` in the name of one worker."""

    def __init__(self, nats: Client, names: StreamNames, worker: str) -> None:
        self.worker = worker
        self._progress = StreamLog(nats, names.progress, Entry.read)
        self._segments = StreamLog(nats, names.segments, Batch.read)
        self._results = StreamLog(nats, names.results, StoredResult.read)

    @property
    def source(self) -> str:
        """The `ce-source` of this worker's own events."""
        return f"natscribe/{self.worker}"

    async def last(self, task_id: str) -> Entry | None:
        """The last entry of a task's log, None where the task is unknown."""
        return await self._progress.last(subjects.progress(task_id))

    async def last_of(self, task_ids: Iterable[str]) -> dict[str, Entry]:
        """The last entries of many logs by task id, of those that have any (NatsError)."""
        found = await self._progress.last_of(subjects.progress(task_id) for task_id in task_ids)
        return {entry.event.task_id: entry for entry in found}

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        """Append an event behind stream sequence `after`, 0 for the first (OvertakenError, TransientError)."""
        headers = self._cloud_event("progress", event.task_id) | facts.headers()
        body = event.model_dump_json().encode()
        sequence = await self._progress.append(subjects.progress(event.task_id), body, headers, after=after)
        return Entry(event, facts, sequence)

    async def end(self, last: Entry, state: State, error: ErrorDetail | None = None) -> Entry:
        """Append the end of a task on nobody's behalf (OvertakenError, TransientError)."""
        event = ProgressEvent(
            task_id=last.event.task_id,
            kind=last.event.kind,
            state=state,
            progress=100 if state is State.COMPLETED else last.event.progress,
            attempt=last.event.attempt,
            max_attempts=last.event.max_attempts,
            sequence=last.event.sequence + 1,
            error=error,
            time=datetime.now(UTC),
        )
        return await self.append(event, last.facts, after=last.stream_sequence)

    async def append_segments(self, event: SegmentsEvent, facts: Facts, audio_sha256: str, *, after: int) -> int:
        """Append a batch of segments behind stream sequence `after` (OvertakenError, TransientError)."""
        headers = self._cloud_event("segments", event.task_id) | facts.headers() | {AUDIO_SHA256: audio_sha256}
        body = event.model_dump_json().encode()
        return await self._segments.append(subjects.segments(event.task_id), body, headers, after=after)

    async def append_result(self, task_id: str, body: bytes, facts: Facts) -> None:
        """Publish the one result that a task ever has, as JSON (OvertakenError, TransientError).

        What a late worker has published for an earlier task of this id goes.
        """
        subject, headers = subjects.results(task_id), self._cloud_event("results", task_id) | facts.headers()
        try:
            await self._results.append(subject, body, headers, after=0)
        except OvertakenError:
            stored = await self._results.last(subject)
            if stored is None or stored.task_sequence >= facts.task_sequence:
                raise
            await self._results.purge(subject, up_to=stored.stream_sequence)
            await self._results.append(subject, body, headers, after=0)

    def segments(self, task_id: str) -> AsyncIterator[Batch]:
        """All batches of segments, in order."""
        return self._segments.entries(subjects.segments(task_id))

    async def result(self, task_id: str, *, of: int) -> Result | None:
        """The result as it was published, None where there is none of the task message with this sequence."""
        stored = await self._results.last(subjects.results(task_id))
        return stored.result if stored is not None and stored.task_sequence == of else None

    async def purge_result(self, task_id: str, *, of: int | None = None) -> None:
        """Remove the result's message; with `of` only if it is of that task message."""
        if of is None:
            await self._results.purge(subjects.results(task_id))
            return
        stored = await self._results.last(subjects.results(task_id))
        if stored is not None and stored.task_sequence == of:
            await self._results.purge(subjects.results(task_id), up_to=stored.stream_sequence)

    async def purge_segments(self, task_id: str, *, up_to: int | None = None) -> None:
        """Remove the batches of segments, those up to a stream sequence or all."""
        await self._segments.purge(subjects.segments(task_id), up_to=up_to)

    async def purge_events(self, task_id: str) -> None:
        """Remove segments and events, the events last: as long as they are there, deleting can be asked for again."""
        await self.purge_segments(task_id)
        await self._progress.purge(subjects.progress(task_id))

    def _cloud_event(self, what: str, task_id: str) -> dict[str, str]:
        return cloud_events.headers(what, self.source, uuid4().hex, task_id=task_id)
