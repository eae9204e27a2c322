"""One attempt at a task: what it says in the task's log, and when."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from app.errors import FencedError
from app.execution.log_end import LogEnd
from app.execution.lost_speakers import LOST, SPEAKERS_MISSING, speakers_are_given_up
from app.execution.segments import StaleSegmentsError, TaskSegments
from app.speech.pace import Pace
from app.task_log.log import Outcome, TaskLog, end_of
from app.task_log.record import Record
from app.task_log.results import ResultStore
from app.updates import Checkpoint, Found, Result, Update
from schemas.errors import ErrorDetail
from schemas.progress import State
from schemas.transcription import TranscriptionResult
from schemas.wire import Kind

SHORTEST_SILENCE = 1.0  # seconds: a running task is heard from at most once a second
LONGEST_SILENCE = 8.0  # seconds: and at least every ten


class TaskAttempt:
    """Owns the end of one task's log until it is overtaken or the attempt ends."""

    def __init__(
        self,
        log: TaskLog,
        results: ResultStore,
        record: Record,
        *,
        started: Callable[[Record], None] = lambda _: None,
        span: str | None = None,
    ) -> None:
        """`started` is told the record before `running`, once that is said."""
        self._log = log
        self._results = results
        self._end_of_log = LogEnd(log, record)
        self._tell_started = started
        self._span = span
        last = record.event
        self._after_trouble = last.state in {State.RUNNING, State.RETRYING}  # a worker was lost, or an attempt failed
        self.number = min(last.attempt + self._after_trouble, last.max_attempts)
        self._pace = Pace(least=last.progress if self.number == last.attempt else 0)
        self.checkpoint = Checkpoint()
        self._without_speakers = (last.error or LOST) if speakers_are_given_up(last) else None
        self._result_sent = False
        self._segments = TaskSegments(log, last.task_id, record.metadata.task_sequence)
        self._lock = asyncio.Lock()
        self._started = self._unsaid = False
        self._said_at = 0.0
        self._audio_seconds: float | None = None  # as the result has them
        self.untranscribed_seconds = 0.0  # of speech in which no text was found, as the result says
        self._began = time.monotonic()

    @property
    def may_go_without_speakers(self) -> bool:
        """Whether one attempt more can save the text, though this one was the last."""
        return self.record.event.kind is Kind.TRANSCRIPTION and self._pace.latest.stage in SPEAKERS_MISSING

    @property
    def audio_seconds(self) -> float | None:
        """How long the recording is, as far as known."""
        return self._audio_seconds or self._pace.latest.duration_seconds

    @property
    def since_progress(self) -> float:
        """Seconds since the work got on."""
        return time.monotonic() - self._pace.moved_at

    @property
    def running(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._began

    @property
    def record(self) -> Record:
        """The last record that this worker has seen or written."""
        return self._end_of_log.record

    @property
    def unsure(self) -> bool:
        """Whether nobody knows if the last word was stored."""
        return self._end_of_log.unsure

    @property
    def runs(self) -> bool:
        """Whether the task runs, by this attempt's own word and not by that of a worker before it."""
        return self._started and self.record.event.state is State.RUNNING

    @property
    def completed(self) -> bool:
        """Whether the task has ended with a result, and this attempt has said so."""
        return self._result_sent and self.record.event.state is State.COMPLETED

    async def start(self) -> None:
        """Say `running`, unless it is said, and read what earlier attempts have done (FencedError)."""
        if self._started:
            return
        self._started, before = True, self.record
        self._end_of_log.know(
            replace(before.metadata, started_at=before.metadata.started_at or datetime.now(UTC), span=self._span)
        )
        async with self._lock:
            await self._say_running()
        if before.event.sequence > 1:  # somebody has run it
            without = self._without_speakers
            read = await self._segments.read()
            self.checkpoint = replace(read, diarization_error=without, after_trouble=self._after_trouble)
        self._tell_started(before)

    async def append(self, update: Update | Result) -> None:
        """Append an update to the task's log, or publish the result.

        Raises:
            FencedError: somebody else has appended to the log.
            StaleSegmentsError: somebody who does not own the task has appended segments.
            TransientError: NATS does not answer.
        """
        await self.start()
        async with self._lock:
            if not isinstance(update, Update):
                await self._publish(update)
                return
            if update.found is not None:
                await self._keep(update.found)
            await self._advance(update)

    async def _keep(self, found: Found) -> None:
        await self._end_of_log.check()
        try:
            await self._segments.append(found, self.record.metadata, attempt=self.number)
        except FencedError as error:
            await self._end_of_log.check()
            raise StaleSegmentsError from error

    async def _advance(self, update: Update) -> None:
        self._pace.advance(update)
        self._unsaid = True
        if time.monotonic() - self._said_at >= SHORTEST_SILENCE:
            await self._say_running()

    async def _publish(self, result: Result) -> None:
        await self._end_of_log.check()
        self._result_sent, self._audio_seconds = True, result.duration
        if isinstance(result, TranscriptionResult):
            self.untranscribed_seconds = sum(stretch.end - stretch.start for stretch in result.untranscribed)
        await self._results.publish(result, self.record.metadata)
        await self._say(State.COMPLETED, progress=100)

    async def clean_up(self, last: Record | None) -> bool:
        """Remove what was on its way when the task was ended or deleted by somebody else: `last` ends its log.

        Whether a deleted task's result may have been shown. A deleted task's id may be another's by now.
        """
        task_id, owner = self.record.event.task_id, self.record.metadata.task_sequence
        if last is not None and last.metadata.task_sequence == owner:
            if self._result_sent and last.event.state in {State.CANCELLED, State.FAILED}:
                await self._results.delete_object(task_id, of=owner)
            return False
        if self._segments.last:
            await self._log.purge_segments(task_id, up_to=self._segments.last)
        await self._results.delete(task_id, of=owner)
        return self._result_sent and last is None

    async def tick(self) -> None:
        """Say what is unsaid, or say the same again, before clients wonder (FencedError, TransientError)."""
        silence = time.monotonic() - self._said_at
        if not self.runs or self._lock.locked():
            return
        async with self._lock:
            if silence >= LONGEST_SILENCE or (self._unsaid and silence >= SHORTEST_SILENCE):
                await self._say_running()

    async def check(self, heard: int | None = None) -> None:
        """Read whose the log is, after event number `heard` was heard only where that is news (FencedError)."""
        async with self._lock:  # no append of ours is on its way then
            if heard is None or heard > self.record.event.sequence:
                await self._end_of_log.check()

    async def end_as_decided(self) -> bool:
        """End the log where the outcome is stored already; whether it is.

        Raises:
            FencedError: somebody else has appended to the log.
            TransientError: NATS does not answer.
        """
        outcome = await self._log.outcome(self.record.event.task_id, of=self.record.metadata.task_sequence)
        if outcome is not None:
            self.number = self.record.event.attempt
            await self._end(outcome)
        return outcome is not None

    async def fail(self, error: ErrorDetail) -> None:
        """End the log with `failed`, unless another outcome is stored already (FencedError, TransientError)."""
        await self.check()
        await self._end(await self._log.forbid_result(self.record.event.task_id, self.record.metadata, error))

    async def _end(self, outcome: Outcome) -> None:
        state, error = end_of(outcome)
        async with self._lock:
            self._result_sent = state is State.COMPLETED
            await self._say(state, error=error, **({"progress": 100} if state is State.COMPLETED else {}))

    async def retry(self, error: ErrorDetail, retry_at: datetime) -> None:
        """Say `retrying`: why, and when (FencedError)."""
        async with self._lock:
            stage = self._pace.latest.stage  # which it failed in
            await self._say(State.RETRYING, stage=stage, error=error, retry_at=retry_at)

    async def give_back(self) -> None:
        """Say `queued`: nothing is wrong, another worker may go on (FencedError)."""
        async with self._lock:
            await self._say(State.QUEUED)

    async def _say_running(self) -> None:
        news = self._pace.latest
        await self._say(
            State.RUNNING,
            stage=news.stage,
            processed_seconds=news.processed_seconds,
            duration_seconds=news.duration_seconds,
            eta_seconds=self._pace.rest,
        )
        self._said_at, self._unsaid = time.monotonic(), False

    async def _say(self, state: State, **fields: object) -> None:
        await self._end_of_log.say(state, attempt=self.number, **({"progress": self._pace.percent} | fields))
