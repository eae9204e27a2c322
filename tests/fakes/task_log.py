"""A task log without a server: it keeps in memory what is appended, by compare-and-set as JetStream does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

from nats.js.api import RawStreamMsg

from app.errors import OvertakenError
from app.jetstream.stream_log import StreamLog
from app.log.entry import Entry, Facts
from app.log.task_log import Batch, StoredResult, TaskLog
from app.updates import Result
from schemas import subjects
from schemas.progress import ProgressEvent
from schemas.transcription import SegmentsEvent

T = TypeVar("T")


class InMemoryStreamLog(StreamLog[T]):
    """The logs of one stream, a subject each; stream sequences count over all of them."""

    def __init__(self, read: Callable[[RawStreamMsg], T]) -> None:
        self._read = read
        self._messages_by_subject: dict[str, list[RawStreamMsg]] = {}
        self._sequence = 0
        self.stored = asyncio.Event()  # set by each append
        self.acknowledges = asyncio.Event()  # appends are stored at once, and return when this is set
        self.acknowledges.set()

    async def last(self, subject: str) -> T | None:
        messages = self._messages_by_subject.get(subject)
        return self._read(messages[-1]) if messages else None

    async def last_of(self, subjects: Iterable[str]) -> list[T]:
        found = [await self.last(subject) for subject in subjects]
        return [record for record in found if record is not None]

    async def entries(self, subject: str) -> AsyncIterator[T]:
        for message in list(self._messages_by_subject.get(subject, ())):
            yield self._read(message)

    async def append(self, subject: str, payload: bytes, headers: dict[str, str], *, after: int) -> int:
        messages = self._messages_by_subject.setdefault(subject, [])
        if after != (messages[-1].seq if messages else 0):
            raise OvertakenError(subject)
        self._sequence += 1
        sequence = self._sequence
        messages.append(RawStreamMsg(subject, sequence, payload, headers=headers))
        self.stored.set()
        await self.acknowledges.wait()
        return sequence

    async def purge(self, subject: str, *, up_to: int | None = None) -> None:
        messages = self._messages_by_subject.pop(subject, [])
        if up_to is not None:
            self._messages_by_subject[subject] = [each for each in messages if (each.seq or 0) > up_to]


class InMemoryTaskLog(TaskLog):
    """The task log of one worker; `of` is that of another worker on the same streams."""

    def __init__(self, worker: str = "w") -> None:
        self.worker = worker
        self._progress = self.progress_stream = InMemoryStreamLog(Entry.read)
        self._segments = self.segments_stream = InMemoryStreamLog(Batch.read)
        self._results = self.results_stream = InMemoryStreamLog(StoredResult.read)

    def of(self, worker: str) -> "InMemoryTaskLog":
        other = InMemoryTaskLog(worker)
        other._progress = other.progress_stream = self.progress_stream
        other._segments = other.segments_stream = self.segments_stream
        other._results = other.results_stream = self.results_stream
        return other

    async def push(self, event: ProgressEvent, facts: Facts) -> Entry:
        """Append behind whatever is there, as somebody else would who was faster."""
        last = await self.last(event.task_id)
        return await self.append(event, facts, after=last.stream_sequence if last else 0)

    async def events(self, task_id: str) -> list[ProgressEvent]:
        """All events of a task, in order."""
        return [entry.event async for entry in self.progress_stream.entries(subjects.progress(task_id))]

    async def batches(self, task_id: str) -> list[SegmentsEvent]:
        """All batches of segments of a task, in order."""
        return [batch.event async for batch in self.segments(task_id)]

    async def published(self, task_id: str) -> Result | None:
        """The result of a task, whichever task message it is of."""
        stored = await self.results_stream.last(subjects.results(task_id))
        return stored.result if stored else None
