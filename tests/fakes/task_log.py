"""A task log without a server: it keeps in memory what is appended, by compare-and-set as JetStream does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from fnmatch import fnmatchcase
from typing import TypeVar

from nats.js.api import RawStreamMsg
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent

from app.errors import FencedError
from app.jetstream.stream_log import StreamLog
from app.task_log.log import TaskLog
from app.task_log.record import Metadata, Outcome, Record, SegmentsMessage, StoredOutcome

T = TypeVar("T")


class InMemoryStreamLog(StreamLog[T]):
    """The logs of one stream, one per subject, with common stream sequences."""

    def __init__(self, read: Callable[[RawStreamMsg], T]) -> None:
        self._read = read
        self._stored_messages: list[RawStreamMsg] = []
        self._sequence = 0
        self.stored = asyncio.Event()  # set by each append
        self.acknowledges = asyncio.Event()  # appends are stored at once, and return when this is set
        self.acknowledges.set()

    def all(self, subject: str) -> list[T]:
        """Return all records of a subject, which may be a wildcard, in order."""
        return [self._read(message) for message in self._of(subject)]

    async def last(self, subject: str) -> T | None:
        messages = self._of(subject)
        return self._read(messages[-1]) if messages else None

    async def last_of(self, subjects: Iterable[str]) -> list[T]:
        found = [await self.last(subject) for subject in subjects]
        return [record for record in found if record is not None]

    async def records(self, subject: str) -> AsyncIterator[T]:
        for record in self.all(subject):
            yield record

    async def append(
        self, subject: str, payload: bytes, headers: dict[str, str], *, after: int, among: str | None = None
    ) -> int:
        messages = self._of(among or subject)
        if after != (messages[-1].seq if messages else 0):
            raise FencedError(subject)
        self._sequence += 1
        sequence = self._sequence
        self._stored_messages.append(RawStreamMsg(subject, sequence, payload, headers=headers))
        self.stored.set()
        await self.acknowledges.wait()
        return sequence

    async def purge(self, subject: str, *, up_to: int | None = None) -> None:
        gone = [each for each in self._of(subject) if up_to is None or (each.seq or 0) <= up_to]
        self._stored_messages = [each for each in self._stored_messages if each not in gone]

    def _of(self, subject: str) -> list[RawStreamMsg]:
        return [each for each in self._stored_messages if fnmatchcase(each.subject or "", subject)]


class InMemoryTaskLog(TaskLog):
    """The task log of one worker; `of` returns that of another worker on the same streams."""

    def __init__(self, worker: str = "w") -> None:
        self.worker = worker
        self._progress = self.progress_stream = InMemoryStreamLog(Record.read)
        self._segments = self.segments_stream = InMemoryStreamLog(SegmentsMessage.read)
        self._outcomes = self.outcomes_stream = InMemoryStreamLog(StoredOutcome.read)

    def of(self, worker: str) -> "InMemoryTaskLog":
        other = InMemoryTaskLog(worker)
        other._progress = other.progress_stream = self.progress_stream
        other._segments = other.segments_stream = self.segments_stream
        other._outcomes = other.outcomes_stream = self.outcomes_stream
        return other

    async def push(self, event: ProgressEvent, metadata: Metadata) -> Record:
        """Append after the last record, as another writer would."""
        last = await self.last(event.task_id)
        return await self.append(event, metadata, after=last.stream_sequence if last else 0)

    def events(self, task_id: str) -> list[ProgressEvent]:
        """Return all events of a task in order."""
        return [record.event for record in self.progress_stream.all(subjects.progress(task_id))]

    def batches(self, task_id: str) -> list[SegmentsEvent]:
        """Return all messages with segments of a task in order."""
        return [batch.event for batch in self.segments_stream.all(subjects.segments(task_id))]

    def outcomes(self, task_id: str) -> list[Outcome]:
        """Return the stored outcomes of a task id."""
        return [stored.outcome for stored in self.outcomes_stream.all(subjects.outcomes(task_id))]
