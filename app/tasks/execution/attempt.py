"""An attempt at a task, i.e. one run of it: appends events and segments to the task's log, and stores the result."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import SpeakerChanges
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, MIN_EVENT_INTERVAL_S, Stage, State, next_event
from natscribe.schemas.transcription import SegmentsEvent

from app.runtime.cancellation import despite_cancellation
from app.runtime.errors import FencedError, TransientError
from app.runtime.telemetry.tracing import StageSpans
from app.speech.updates import (
    Checkpoint,
    Embeddings,
    NewText,
    Progress,
    RedactedAudio,
    Result,
    SpeakerState,
    TaskUpdate,
)
from app.tasks.execution.checkpoint import StaleSegmentsError, read_segments
from app.tasks.execution.progress_tracker import ProgressTracker
from app.tasks.execution.retries import failed_or_lost, only_speakers_missing
from app.tasks.execution.speaker_log import SpeakerLog
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, NoResult, Outcome, Record, end_of
from app.tasks.task_log.results import ResultStore

REPEATED_AFTER_S = MAX_EVENT_INTERVAL_S - 2  # after this time the last update is appended again
LAST_APPEND_TIMEOUT_S = 2.0  # how long a stopping worker waits for the acknowledgement of its last append


class TaskAttempt:
    """One attempt at a task: appends events and segments to the task's log, and stores the result.

    The attempt is over when the task has ended or is released for another worker, or when another writer has appended
    to the task's log. In the last case this worker is fenced: JetStream refuses its appends, and it must not change the
    task any more.
    """

    def __init__(self, log: TaskLog, results: ResultStore, record: Record, spans: StageSpans) -> None:
        """Create an attempt; it appends nothing to the task's log until `start` is called.

        `record`: the last record of the task's log.
        """
        self._log = log
        self._results = results
        self.spans = spans
        self._before = record
        self.record = record  # the last record that this worker has read or appended
        last = record.event
        self.number = min(last.attempt + failed_or_lost(last), last.max_attempts)
        self._progress = ProgressTracker(minimum=last.progress if self.number == last.attempt else 0)
        self.checkpoint = Checkpoint()
        self._segment_messages = 0  # how many messages with segments this task has
        self._segments_after = 0  # stream sequence of the last segments that this worker has read or appended
        self._speakers = SpeakerLog(log, results)
        self._lock = asyncio.Lock()
        self._pending = False  # whether the last update is not appended yet
        self._appended_at = 0.0
        self.result: Result | None = None
        self._may_have_object = False  # whether this attempt may have stored an object or embeddings
        self.is_unsure = False  # whether it is unknown if the last append was stored

    @property
    def has_attempts_left(self) -> bool:
        """Whether the task has attempts left; one more is left if only the speakers of a complete text are missing."""
        event = self.record.event
        return self.number < event.max_attempts or only_speakers_missing(event.kind, self._progress.latest.stage)

    @property
    def audio_seconds(self) -> float | None:
        """The duration of the task's audio in seconds; None if unknown."""
        return self.result.duration if self.result else self._progress.latest.duration_seconds

    @property
    def seconds_since_progress(self) -> float:
        """Seconds since the attempt last made progress.

        A live task is regarded as making progress while it waits for audio of its client.
        """
        return time.monotonic() - self._progress.changed_at

    @property
    def has_appended(self) -> bool:
        """Whether this worker has appended a record in this attempt."""
        return self.record is not self._before

    @property
    def is_running(self) -> bool:
        """Whether the last record of the task's log is a `running` event that this worker has appended."""
        return self.has_appended and self.record.event.state is State.RUNNING

    async def start(self, span: str | None = None) -> None:
        """Append a `running` event, and set `checkpoint` from the segments that earlier attempts have stored.

        `span`: the `traceparent` of the delivery's tracing span; None: the delivery has no span.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
            UnreadableError: Another version of the service has written segments that this one cannot read.
        """
        last, metadata = self._before.event, self._before.metadata
        if last.sequence > 1:  # append nothing to a task whose segments cannot be read
            await read_segments(self._log, self._before)
        async with self._lock:
            started_at = metadata.started_at or datetime.now(UTC)
            await self._append(State.RUNNING, replace(metadata, started_at=started_at, span=span))
        if last.sequence > 1:  # an earlier attempt may have stored segments
            stored = await read_segments(self._log, self._before)
            self._segment_messages, self._segments_after = stored.messages, stored.stream_sequence
            self.checkpoint = await self._speakers.resume(stored.checkpoint, self.record)
        self.spans.enter(Stage.FETCHING)

    async def append(self, update: TaskUpdate) -> None:
        """Append progress, text or changes of speakers to the task's log, or store embeddings or a state of speakers.

        At most one progress event per second is appended; progress in between is appended by a later call of `append`
        or `tick`.

        Raises:
            BucketFullError: The bucket for embeddings has no room.
            FencedError: Another writer has appended to the log.
            StaleSegmentsError: A worker that does not own the task has appended segments.
            TransientError: JetStream does not reply.
        """
        async with self._lock:
            if isinstance(update, Progress):
                self.spans.enter(update.stage)
                self._progress.advance(update)
                self._pending = True
                if time.monotonic() - self._appended_at >= MIN_EVENT_INTERVAL_S:
                    await self._append(State.RUNNING)
            else:
                if not isinstance(update, SpeakerChanges):  # JetStream checks the owner when it appends them
                    await self._check()
                await self._store(update)
                self._progress.changed_at = time.monotonic()

    async def publish(self, result: Result) -> None:
        """Store the result of the task, and append a `completed` event.

        Raises:
            FencedError: Another writer has appended to the log, or another outcome of the task is stored.
            TransientError: JetStream does not reply.
        """
        self.spans.enter("storing")
        async with self._lock:
            await self._check()
            self.result, self._may_have_object = result, True
            await self._results.publish(result, self.record)
            await self._append(State.COMPLETED, progress=100)
        await self._speakers.delete_state(self.record)

    async def tick(self) -> None:
        """Append the progress that `append` has postponed, if a second has passed since the last event.

        After REPEATED_AFTER_S without an event, append the last progress again. Do nothing if the attempt is not
        running, or if another append is in progress.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        silence = time.monotonic() - self._appended_at
        if not self.is_running or self._lock.locked():
            return
        async with self._lock:
            if silence >= REPEATED_AFTER_S or (self._pending and silence >= MIN_EVENT_INTERVAL_S):
                await self._append(State.RUNNING)

    async def check(self, sequence: int | None = None) -> None:
        """Check that this attempt still owns the task's log, i.e. that no other writer has appended to it.

        `sequence`: the field `sequence` of an event that the caller has received from the log; the log is not read if
        this attempt has appended or read that event itself. None: read the log in any case.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        async with self._lock:  # the lock excludes an unfinished append of this attempt
            if sequence is None or sequence > self.record.event.sequence:
                await self._check()

    async def end_with_stored_outcome(self) -> bool:
        """If an outcome of the task is stored, append the event that ends the task; return whether this was done.

        An outcome is the result of the task, or a note that the task ends without a result. An earlier attempt may have
        stored it without appending the event.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        outcome = await self._log.outcome(self.record)
        if outcome is not None:
            self.number = self.record.event.attempt
            await self._end(outcome)
        return outcome is not None

    async def fail(self, error: ErrorDetail) -> None:
        """End the task's log with a `failed` event, or with the event of an outcome that is already stored.

        A task that still waits is `running` before.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        await self._start_if_waiting()
        await self.check()
        await self._end(await self._log.forbid_result(self.record, error))

    async def retry(self, error: ErrorDetail, retry_at: datetime) -> None:
        """Append a `retrying` event, with the error of this attempt and the time of the next one.

        A task that still waits is `running` before.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        await self._start_if_waiting()
        async with self._lock:
            stage = self._progress.latest.stage  # the stage in which the attempt failed
            await self._append(State.RETRYING, stage=stage, error=error, retry_at=retry_at)

    async def release(self) -> None:
        """Append a `queued` event, so that another worker can continue this attempt.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        async with self._lock:
            await self._append(State.QUEUED)

    async def clean_up(self, last: Record | None) -> None:
        """Delete what this attempt has stored outside the log, if the task was deleted or has ended without a result.

        `last`: the last record of the task's log. If the task was deleted, it is None, or belongs to a later task with
        the same id.
        """
        task_id, owner = self.record.event.task_id, self.record.metadata.owner
        if last is None or not last.metadata.owner.is_same_as(owner):  # the task was deleted
            if self._segments_after:
                await self._log.purge_segments(task_id, up_to=self._segments_after)
            await self._speakers.clean_up(task_id)
            await self._results.delete(task_id, of=owner)
        elif self._may_have_object and isinstance(await self._log.outcome(self.record), NoResult):
            await self._results.delete_object(task_id, of=owner)

    async def _start_if_waiting(self) -> None:
        if self.record.event.state.waits:
            await self.start()

    async def _store(self, update: NewText | SpeakerChanges | SpeakerState | Embeddings | RedactedAudio) -> None:
        try:
            match update:
                case NewText():
                    self.spans.transcribed(update.text.end, len(update.text.segments))
                    await self._append_segments(update)
                case SpeakerChanges():
                    await self._speakers.append(update, self.record)
                case SpeakerState():
                    self._may_have_object = True
                    await self._speakers.store_state(update.state, self.record)
                case Embeddings():
                    self._may_have_object = True
                    await self._results.embeddings.put(update.content, self.record)
                case RedactedAudio():
                    self._may_have_object = True
                    await self._results.store_audio(update, self.record)
        except FencedError as error:
            await self._check()  # raises FencedError if this attempt no longer owns the log
            raise StaleSegmentsError from error

    async def _append_segments(self, update: NewText) -> None:
        text = update.text
        event = SegmentsEvent(
            task_id=self.record.event.task_id,
            attempt=self.number,
            sequence=self._segment_messages + 1,
            language=text.language,
            channel=text.channel,
            processed_seconds=text.end,
            segments=text.segments,
            untranscribed=text.untranscribed,
            entities=text.entities,
            finalized=list(update.finalized),
        )
        metadata = replace(self.record.metadata, audio_offset=update.audio_offset)
        self._segments_after = await self._log.append_segments(
            event, metadata, update.audio_sha256, after=self._segments_after
        )
        self._segment_messages += 1

    async def _end(self, outcome: Outcome) -> None:
        state, error = end_of(outcome)
        async with self._lock:
            await self._append(state, error=error, progress=100 if state is State.COMPLETED else self._progress.percent)
        if self._may_have_object and state is not State.COMPLETED:
            with suppress(NatsError):  # the buckets expire what remains
                await self._results.delete_object(self.record.event.task_id, of=self.record.metadata.owner)

    async def _check(self) -> None:
        """Check that this attempt still owns the task's log, before it stores something outside of the log.

        That is necessary because JetStream checks the owner only when a record is appended to the log.

        Raises:
            FencedError: Another writer has appended to the log.
            TransientError: JetStream does not reply.
        """
        last = await self._log.last(self.record.event.task_id)
        if last is None or last.stream_sequence > self.record.stream_sequence:
            raise FencedError

    async def _append(self, state: State, metadata: Metadata | None = None, **fields: object) -> None:
        if state is State.RUNNING:
            fields |= self._progress.fields()
        elif state.ended:
            fields["duration_seconds"] = self.audio_seconds or self.record.event.duration_seconds
        fields = {"progress": self._progress.percent, "attempt": self.number, "worker": self._log.worker} | fields
        event = next_event(self.record.event, state, **fields)
        metadata = metadata or self.record.metadata
        append = asyncio.create_task(self._log.append(event, metadata, after=self.record.stream_sequence))
        try:
            self.record = await asyncio.shield(append)
        except asyncio.CancelledError:  # the event may be stored: the next append needs its stream sequence
            await despite_cancellation(self._finish(append))
            raise
        self._appended_at, self._pending = time.monotonic(), False

    async def _finish(self, append: asyncio.Task[Record]) -> None:
        """Wait up to LAST_APPEND_TIMEOUT_S until JetStream acknowledges an append to the task's log.

        If it does not, set `is_unsure`: nobody knows whether the log contains the event.
        """
        self.is_unsure = True
        with suppress(TransientError, TimeoutError):
            async with asyncio.timeout(LAST_APPEND_TIMEOUT_S):
                self.record = await append
                self.is_unsure = False
