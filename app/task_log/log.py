"""The task log: the one module that appends to the subjects of a task, each time by compare-and-set."""

from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

from nats.aio.client import Client

from app.errors import FencedError
from app.jetstream.stream_log import StreamLog
from app.task_log import cloud_events
from app.task_log.record import Batch, Metadata, NoResult, Outcome, Record, StoredOutcome, end_of, next_event
from schemas import subjects
from schemas.errors import ErrorDetail
from schemas.headers import AUDIO_SHA256
from schemas.progress import ProgressEvent, State
from schemas.stream_names import StreamNames
from schemas.transcription import SegmentsEvent


class TaskLog:
    """Appends to `progress.*`, `segments.*` and `results.*` in the name of one worker, and reads them."""

    def __init__(self, nats: Client, names: StreamNames, worker: str) -> None:
        self.worker = worker
        self._progress = StreamLog(nats, names.progress, Record.read)
        self._segments = StreamLog(nats, names.segments, Batch.read)
        self._outcomes = StreamLog(nats, names.results, StoredOutcome.read)

    @property
    def source(self) -> str:
        """The `ce-source` of this worker's own events."""
        return f"natscribe/{self.worker}"

    async def last(self, task_id: str) -> Record | None:
        """The last record of a task's log, None where the task is unknown.

        Raises:
            TransientError: JetStream does not answer.
        """
        return await self._progress.last(subjects.progress(task_id))

    async def last_of(self, task_ids: Iterable[str]) -> dict[str, Record]:
        """The last records of many logs by task id; a log without records is left out.

        Raises:
            NatsError: NATS does not answer.
        """
        found = await self._progress.last_of(subjects.progress(task_id) for task_id in task_ids)
        return {record.event.task_id: record for record in found}

    async def append(self, event: ProgressEvent, metadata: Metadata, *, after: int) -> Record:
        """Append an event behind stream sequence `after`, 0 for the first.

        Raises:
            FencedError: Somebody else has appended to the log.
            TransientError: JetStream does not answer.
        """
        headers = self._cloud_event("progress", event.task_id) | metadata.headers()
        body = event.model_dump_json().encode()
        sequence = await self._progress.append(subjects.progress(event.task_id), body, headers, after=after)
        return Record(event, metadata, sequence)

    async def end(self, last: Record, error: ErrorDetail | None = None) -> Record:
        """End a task that no worker runs, or without its worker: `failed` with an error, `cancelled` without one.

        The task ends with `completed` where its result is stored.

        Raises:
            FencedError: Somebody else has appended to the log.
            TransientError: JetStream does not answer.
        """
        state, error = end_of(await self.forbid_result(last.event.task_id, last.metadata, error))
        progress = 100 if state is State.COMPLETED else last.event.progress
        event = next_event(last.event, state, progress=progress, error=error)
        return await self.append(event, last.metadata, after=last.stream_sequence)

    async def append_segments(self, event: SegmentsEvent, metadata: Metadata, audio_sha256: str, *, after: int) -> int:
        """Append a batch of segments behind stream sequence `after`, 0 for the first; return the new sequence.

        Raises:
            FencedError: Somebody else has appended a batch.
            TransientError: JetStream does not answer.
        """
        headers = self._cloud_event("segments", event.task_id) | metadata.headers() | {AUDIO_SHA256: audio_sha256}
        body = event.model_dump_json().encode()
        return await self._segments.append(subjects.segments(event.task_id), body, headers, after=after)

    async def append_result(self, task_id: str, body: bytes, metadata: Metadata) -> None:
        """Store the one result of a task, as JSON.

        Raises:
            FencedError: The task has a result, or ends without one.
            TransientError: JetStream does not answer.
        """
        await self._append_outcome(subjects.results(task_id), task_id, body, metadata)

    async def forbid_result(self, task_id: str, metadata: Metadata, error: ErrorDetail | None) -> Outcome:
        """Forbid that a result of a task is stored, and return the outcome: another one may be stored already.

        Raises:
            FencedError: A later task has this id, or the outcome was removed meanwhile.
            TransientError: JetStream does not answer.
        """
        forbidden = NoResult(task_id=task_id, error=error)
        try:
            await self._append_outcome(
                subjects.no_results(task_id), task_id, forbidden.model_dump_json().encode(), metadata
            )
        except FencedError:
            outcome = await self.outcome(task_id, of=metadata.task_sequence)
            if outcome is None:
                raise
            return outcome
        return forbidden

    async def _append_outcome(self, subject: str, task_id: str, body: bytes, metadata: Metadata) -> None:
        """Store the one outcome of a task; that of an earlier task with this id is removed."""
        headers, all_of = self._cloud_event("results", task_id) | metadata.headers(), subjects.outcomes(task_id)
        try:
            await self._outcomes.append(subject, body, headers, after=0, among=all_of)
        except FencedError:
            stored = await self._outcomes.last(all_of)
            if stored is None or not stored.metadata.is_older_than(metadata):
                raise
            await self._outcomes.purge(all_of, up_to=stored.stream_sequence)
            await self._outcomes.append(subject, body, headers, after=0, among=all_of)

    def segments(self, task_id: str) -> AsyncIterator[Batch]:
        """All batches of segments of a task, in order."""
        return self._segments.records(subjects.segments(task_id))

    async def outcome(self, task_id: str, *, of: int) -> Outcome | None:
        """The outcome of the task message with the sequence `of`, None where there is none yet."""
        stored = await self._outcomes.last(subjects.outcomes(task_id))
        return stored.outcome if stored is not None and stored.metadata.task_sequence == of else None

    async def purge_outcome(self, task_id: str, *, of: int | None = None) -> None:
        """Remove the outcome; with `of` only that of this task message."""
        all_of = subjects.outcomes(task_id)
        if of is None:
            await self._outcomes.purge(all_of)
            return
        stored = await self._outcomes.last(all_of)
        if stored is not None and stored.metadata.task_sequence == of:
            await self._outcomes.purge(all_of, up_to=stored.stream_sequence)

    async def purge_segments(self, task_id: str, *, up_to: int | None = None) -> None:
        """Remove all batches of segments, or those up to a stream sequence."""
        await self._segments.purge(subjects.segments(task_id), up_to=up_to)

    async def purge_events(self, task_id: str) -> None:
        """Remove segments, then events: as long as events are there, a client can ask again to delete the task."""
        await self.purge_segments(task_id)
        await self._progress.purge(subjects.progress(task_id))

    def _cloud_event(self, what: str, task_id: str) -> dict[str, str]:
        return cloud_events.headers(what, self.source, uuid4().hex, task_id=task_id)
