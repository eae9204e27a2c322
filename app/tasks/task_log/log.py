"""The task log: the only module that appends to the subjects of a task, always by compare-and-set."""

from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

from nats.aio.client import Client
from natscribe.jetstream import cloud_events
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.headers import AUDIO_SHA256
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import ProgressEvent, State, next_event
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.transcription import SegmentsEvent

from app.runtime.errors import FencedError
from app.storage.jetstream.publishers import Publishers
from app.storage.jetstream.stream_log import StreamLog
from app.tasks.task_log.erased_events import ErasedEvents
from app.tasks.task_log.record import (
    Metadata,
    NoResult,
    Outcome,
    Record,
    SegmentsMessage,
    SpeakersMessage,
    StoredOutcome,
    TaskMessageId,
    end_of,
)


class TaskLog:
    """Appends events, segments and outcomes (a result, or a note that there is none) of tasks, and reads them."""

    def __init__(self, nats: Client, publishers: Publishers, names: StreamNames, worker: str) -> None:
        self.worker = worker
        self._progress = StreamLog(nats, publishers.progress, names.progress, Record.read)
        self._segments = StreamLog(nats, publishers.segments, names.segments, SegmentsMessage.read)
        self._speakers = StreamLog(nats, publishers.speakers, names.speakers, SpeakersMessage.read)
        self.erased = ErasedEvents(nats, publishers.erased, names.erased, self.source)
        self._outcomes = StreamLog(nats, publishers.results, names.results, StoredOutcome.read)

    @property
    def source(self) -> str:
        """The CloudEvents source (`ce-source`) of the events that this worker appends."""
        return f"natscribe/{self.worker}"

    async def last(self, task_id: str) -> Record | None:
        """Return the last record of a task's log; None if the log is empty: the task is unknown or not registered yet.

        Raises:
            TransientError: JetStream does not answer.
        """
        return await self._progress.last(subjects.progress(task_id))

    async def last_of(self, task_ids: Iterable[str]) -> dict[str, Record]:
        """Return the last record of each task's log, by task id; tasks with an empty log are omitted.

        Raises:
            NatsError: NATS does not answer.
        """
        records = await self._progress.last_of(subjects.progress(task_id) for task_id in task_ids)
        return {record.event.task_id: record for record in records}

    async def append(self, event: ProgressEvent, metadata: Metadata, *, after: int) -> Record:
        """Append an event to a task's log, and return the record that was appended.

        `after`: the stream sequence of the log's last record; 0: the log is empty.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not answer.
        """
        headers = self._cloud_event("progress", event.task_id) | metadata.headers()
        body = event.model_dump_json().encode()
        sequence = await self._progress.append(subjects.progress(event.task_id), body, headers, after=after)
        return Record(event, metadata, sequence)

    async def end(self, last: Record, error: ErrorDetail | None = None) -> Record:
        """End a task that is not completed yet, even while a worker runs it; return the last record of its log.

        With an `error` the task ends as `failed`, without one as `cancelled`. But if the task's outcome is already
        stored, the task ends as this outcome says: after a result, as `completed`. `last`: the last record of the log.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not answer.
        """
        state, error = end_of(await self.forbid_result(last, error))
        progress = 100 if state is State.COMPLETED else last.event.progress
        duration = last.event.duration_seconds
        event = next_event(last.event, state, progress=progress, duration_seconds=duration, error=error)
        return await self.append(event, last.metadata, after=last.stream_sequence)

    async def append_segments(self, event: SegmentsEvent, metadata: Metadata, audio_sha256: str, *, after: int) -> int:
        """Append segments of a task as one message to `segments.<task_id>`; return its stream sequence.

        `metadata`: the description of the task. `audio_sha256`: the hash of the recording. `after`: the stream sequence
        of the last message on the subject; 0: none.

        Raises:
            FencedError: Another writer has appended segments.
            TransientError: JetStream does not answer.
        """
        headers = self._cloud_event("segments", event.task_id) | metadata.headers() | {AUDIO_SHA256: audio_sha256}
        body = event.model_dump_json().encode()
        return await self._segments.append(subjects.segments(event.task_id), body, headers, after=after)

    async def append_speakers(self, event: SpeakersEvent, metadata: Metadata, *, after: int) -> int:
        """Append an event about the speakers of a live task to `speakers.<task_id>`; return its stream sequence.

        `after`: the stream sequence of the last message on the subject; 0: none.

        Raises:
            FencedError: Another writer has appended an event.
            TransientError: JetStream does not answer.
        """
        headers = self._cloud_event("speakers", event.task_id) | metadata.headers()
        body = event.model_dump_json().encode()
        return await self._speakers.append(subjects.speakers(event.task_id), body, headers, after=after)

    async def append_result(self, body: bytes, last: Record) -> None:
        """Store the result of a task, as JSON in `body`; `last` is the last record of the task's log.

        Raises:
            FencedError: Another outcome of the task is already stored.
            TransientError: JetStream does not answer.
        """
        await self._append_outcome(subjects.results(last.event.task_id), body, last)

    async def forbid_result(self, last: Record, error: ErrorDetail | None) -> Outcome:
        """Note in the stream of results that a task ends without a result; return the outcome that is stored.

        If an outcome is stored already, such as a result, that one stays, and is returned instead of the note. `last`:
        the last record of the task's log. `error`: the error of a failed task; None: the task was cancelled.

        The caller must then append the end of the task to the log. If another writer appends a record before that, a
        result may replace the note: see `StoredOutcome.has_lapsed`.

        Raises:
            FencedError: A later task has the same id, or a deletion has just removed the outcome.
            TransientError: JetStream does not answer.
        """
        task_id = last.event.task_id
        forbidden = NoResult(task_id=task_id, after=last.stream_sequence, error=error)
        try:
            await self._append_outcome(subjects.no_results(task_id), forbidden.model_dump_json().encode(), last)
        except FencedError:
            outcome = await self.outcome(last)
            if outcome is None:
                raise
            return outcome
        return forbidden

    async def _append_outcome(self, subject: str, body: bytes, last: Record) -> None:
        """Store the outcome of a task on `subject`; replace an outcome that is already stored only if it is outdated.

        `last`: the last record of the task's log. `StoredOutcome.has_lapsed` says when an outcome is outdated.

        Raises:
            FencedError: An outcome is already stored, and is not outdated.
            TransientError: JetStream does not answer.
        """
        task_id = last.event.task_id
        headers, all_of = self._cloud_event("results", task_id) | last.metadata.headers(), subjects.outcomes(task_id)
        try:
            await self._outcomes.append(subject, body, headers, after=0, among=all_of)
        except FencedError:
            stored = await self._outcomes.last(all_of)
            if stored is None or not stored.has_lapsed(last):
                raise
            await self._outcomes.purge(all_of, up_to=stored.stream_sequence)
            await self._outcomes.append(subject, body, headers, after=0, among=all_of)

    def segments(self, task_id: str) -> AsyncIterator[SegmentsMessage]:
        """Yield all messages with segments of a task in order, including those of an earlier task with the same id."""
        return self._segments.records(subjects.segments(task_id))

    def speakers(self, task_id: str) -> AsyncIterator[SpeakersMessage]:
        """Yield all events about the speakers of a task in order, including those of an earlier task with its id."""
        return self._speakers.records(subjects.speakers(task_id))

    async def outcome(self, last: Record) -> Outcome | None:
        """Return the stored outcome of the task whose log ends with `last`: its result, or the note that it has none.

        Return None if there is no outcome, if it belongs to another task with the same id, or if it is a note that a
        result may replace by now: see `StoredOutcome.has_lapsed`.
        """
        stored = await self._outcomes.last(subjects.outcomes(last.event.task_id))
        if stored is None or stored.has_lapsed(last) or not stored.metadata.owner.is_same_as(last.metadata.owner):
            return None
        return stored.outcome

    async def purge_outcome(self, task_id: str, *, of: TaskMessageId | None = None) -> None:
        """Delete the outcome of a task, i.e. its result or the note that it has none.

        `of`: delete it only if it belongs to this task message, because another message may have the same task id; it
        was stored late then, and its erasure gets an event of its own. None: delete it in any case.
        """
        all_of = subjects.outcomes(task_id)
        if of is None:
            await self._outcomes.purge(all_of)
            return
        stored = await self._outcomes.last(all_of)
        if stored is not None and stored.metadata.owner.is_same_as(of):
            await self._outcomes.purge(all_of, up_to=stored.stream_sequence)
            await self.erased.append_late(task_id, of)

    async def purge_segments(self, task_id: str, *, up_to: int | None = None) -> None:
        """Delete the segments of a task, up to and including the stream sequence `up_to`; None: all segments."""
        await self._segments.purge(subjects.segments(task_id), up_to=up_to)

    async def purge_speakers(self, task_id: str, *, up_to: int | None = None) -> None:
        """Delete the events about the speakers of a task, up to and including the sequence `up_to`; None: all."""
        await self._speakers.purge(subjects.speakers(task_id), up_to=up_to)

    async def purge_events(self, task_id: str) -> None:
        """Delete the segments and speakers of a task, then its events.

        If the deletion fails halfway, the task still has events, so that a client can repeat the deletion.
        """
        await self.purge_segments(task_id)
        await self.purge_speakers(task_id)
        await self._progress.purge(subjects.progress(task_id))

    async def undo(self, record: Record) -> None:
        """Delete the first record of a log, which was appended by mistake; later records stay."""
        await self._progress.purge(subjects.progress(record.event.task_id), up_to=record.stream_sequence)

    def _cloud_event(self, what: str, task_id: str) -> dict[str, str]:
        return cloud_events.headers(what, self.source, uuid4().hex, task_id=task_id)
