"""One attempt at a task: what it says in the task's log, and when."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from app.delivery.hands import Hands
from app.delivery.lost_speakers import LOST, SPEAKERS_MISSING, speakers_are_given_up
from app.delivery.segments import TaskSegments
from app.ending import finish
from app.log.entry import Entry
from app.log.results import ResultStore
from app.log.task_log import TaskLog
from app.speech.pace import Pace
from handlers.errors import OvertakenError, PassingError
from handlers.ports import Advanced, Checkpoint, Fetched, Found, News, Result
from schemas.diarization import DiarizationResult
from schemas.errors import ErrorDetail
from schemas.progress import ProgressEvent, State
from schemas.transcription import TranscriptionResult
from schemas.wire import Kind

SHORTEST_SILENCE = 1.0  # seconds: a running task is heard from at most once a second
LONGEST_SILENCE = 8.0  # seconds: and at least every ten
LAST_WORD_WITHIN = 2.0  # seconds: so long a worker that stops waits for an acknowledgement


class TaskAttempt:
    """Owns the end of one task's log until it is overtaken or the attempt ends."""

    def __init__(
        self,
        log: TaskLog,
        results: ResultStore,
        entry: Entry,
        *,
        hands: Hands,
        span: str | None = None,
    ) -> None:
        self._log = log
        self._hands = hands
        self._span = span
        self._results = results
        self._entry = entry
        last = entry.event
        self._after_trouble = last.state in {State.RUNNING, State.RETRYING}  # a worker was lost, or an attempt failed
        self.number = min(last.attempt + self._after_trouble, last.max_attempts)
        self._pace = Pace(least=last.progress if self.number == last.attempt else 0)
        self.checkpoint = Checkpoint()
        self._without_speakers = (last.error or LOST) if speakers_are_given_up(last) else None
        self._result_sent = False
        self._segments = TaskSegments(log, last.task_id)
        self._lock = asyncio.Lock()
        self._started = self._unsaid = False
        self.unsure = False  # nobody knows whether the last word was stored
        self._said_at = 0.0
        self._began = time.monotonic()

    @property
    def may_go_without_speakers(self) -> bool:
        """Whether one attempt more can save the text, though this one was the last."""
        return self._entry.event.kind is Kind.TRANSCRIPTION and self._pace.latest.stage in SPEAKERS_MISSING

    @property
    def audio_seconds(self) -> float | None:
        """How long the recording is, as far as known."""
        return self._pace.latest.duration_seconds

    @property
    def since_progress(self) -> float:
        """Seconds since the work got on."""
        return time.monotonic() - self._pace.moved_at

    @property
    def running(self) -> float:
        """Seconds since the attempt began."""
        return time.monotonic() - self._began

    @property
    def entry(self) -> Entry:
        """The last entry that this worker has seen or written."""
        return self._entry

    async def start(self) -> None:
        """Say `running`, unless it is said, and read what earlier attempts have done (OvertakenError)."""
        if self._started:
            return
        self._started, before = True, self._entry
        facts = replace(before.facts, started_at=before.facts.started_at or datetime.now(UTC), span=self._span)
        self._entry = replace(before, facts=facts)
        async with self._lock:
            await self._say_running()
        if before.event.sequence > 1:  # somebody has run it
            without = self._without_speakers
            read = await self._segments.read()
            self.checkpoint = replace(read, diarization_error=without, after_trouble=self._after_trouble)
        self._hands.started(before)

    async def append(self, news: News) -> None:
        """Write news to the task's log (OvertakenError, PassingError)."""
        if isinstance(news, Fetched):
            await self._hands.engine()
        elif isinstance(news, TranscriptionResult | DiarizationResult):
            self._hands.found()
        await self.start()
        async with self._lock:
            match news:
                case Fetched():
                    pass  # it is `running`, which is said
                case Advanced():
                    await self._advance(news)
                case Found():
                    await self._still_mine()
                    await self._segments.append(news, self._entry.facts, attempt=self.number)
                case TranscriptionResult() | DiarizationResult():
                    await self._publish(news)

    async def _advance(self, news: Advanced) -> None:
        self._pace.advance(news)
        self._unsaid = True
        if time.monotonic() - self._said_at >= SHORTEST_SILENCE:
            await self._say_running()

    async def _publish(self, result: Result) -> None:
        await self._still_mine()
        self._result_sent = True
        await self._results.publish(result, self._entry.facts)
        await self._end(State.COMPLETED, progress=100)

    async def withdraw(self) -> bool:
        """Take back the result of a task that was cancelled, deleted or given up while its result was on the way.

        Whether there was one to take back.
        """
        if not self._result_sent:
            return False
        last = await self._log.last(self._entry.event.task_id)
        unwanted = last is None or last.event.state in {State.CANCELLED, State.FAILED}
        if unwanted:
            await self._results.delete(self._entry.event.task_id)
        return unwanted

    async def tick(self) -> None:
        """Say what is unsaid, or say the same again, before clients wonder (OvertakenError, PassingError)."""
        silence = time.monotonic() - self._said_at
        if self._entry.event.state is not State.RUNNING or self._lock.locked():
            return
        async with self._lock:
            if silence >= LONGEST_SILENCE or (self._unsaid and silence >= SHORTEST_SILENCE):
                await self._say_running()

    async def check(self, heard: int | None = None) -> None:
        """Read whose the log is, after event number `heard` was heard only where that is news (OvertakenError)."""
        async with self._lock:  # no append of ours is on its way then
            if heard is None or heard > self._entry.event.sequence:
                await self._still_mine()

    async def complete(self) -> None:
        """Say `completed` for a result that an earlier attempt has published (OvertakenError)."""
        async with self._lock:
            self.number, self._result_sent = self._entry.event.attempt, True
            await self._end(State.COMPLETED, progress=100)

    async def fail(self, error: ErrorDetail) -> None:
        """Say `failed` (OvertakenError)."""
        async with self._lock:
            await self._end(State.FAILED, error=error)

    async def retry(self, error: ErrorDetail, retry_at: datetime) -> None:
        """Say `retrying`: why, and when (OvertakenError)."""
        async with self._lock:
            stage = self._pace.latest.stage  # which it failed in
            await self._say(State.RETRYING, stage=stage, error=error, retry_at=retry_at, progress=self._pace.percent)

    async def give_back(self) -> None:
        """Say `queued`: nothing is wrong, another worker may go on (OvertakenError)."""
        async with self._lock:
            await self._say(State.QUEUED, progress=self._pace.percent)

    async def _still_mine(self) -> None:
        """Segments have a sequence of their own: the log of events says whose they are (OvertakenError)."""
        last = await self._log.last(self._entry.event.task_id)
        if last is None or last.stream_sequence != self._entry.stream_sequence:
            raise OvertakenError

    async def _last_word(self, append: asyncio.Task[Entry]) -> None:
        """Know what comes next follows (OvertakenError)."""
        self.unsure = True
        with suppress(PassingError, TimeoutError):
            async with asyncio.timeout(LAST_WORD_WITHIN):
                self._entry = await append
                self.unsure = False

    async def _end(self, state: State, *, progress: int | None = None, error: ErrorDetail | None = None) -> None:
        await self._say(state, progress=self._pace.percent if progress is None else progress, error=error)

    async def _say_running(self) -> None:
        news = self._pace.latest
        await self._say(
            State.RUNNING,
            stage=news.stage,
            progress=self._pace.percent,
            processed_seconds=news.processed_seconds,
            duration_seconds=news.duration_seconds,
            eta_seconds=self._pace.rest,
        )
        self._said_at, self._unsaid = time.monotonic(), False

    async def _say(self, state: State, **fields: object) -> None:
        last = self._entry.event
        event = ProgressEvent.model_validate(
            fields
            | {
                "task_id": last.task_id,
                "kind": last.kind,
                "state": state,
                "attempt": self.number,
                "max_attempts": last.max_attempts,
                "sequence": last.sequence + 1,
                "worker": self._log.worker,
                "time": datetime.now(UTC),
            }
        )
        append = asyncio.create_task(self._log.append(event, self._entry.facts, after=self._entry.stream_sequence))
        try:
            self._entry = await asyncio.shield(append)
        except asyncio.CancelledError:  # it may be stored already: what comes next must know what it follows
            await finish(self._last_word(append))
            raise
