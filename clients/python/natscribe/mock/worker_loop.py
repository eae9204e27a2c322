"""Plays tasks, i.e. simulates their execution, like a single worker: recordings one by one, live tasks concurrently."""

import asyncio
import math
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from nats.js.errors import BadRequestError, NotFoundError

from natscribe.mock.content import BATCHES, DURATION_S, Content
from natscribe.mock.live import LiveAttempt, Report
from natscribe.mock.log import Log
from natscribe.mock.task import EndedError, PlayedTask
from natscribe.mock.voices import Voices
from natscribe.schemas.diarization import DiarizationTask
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import Result, Task, due_at
from natscribe.schemas.live import LiveTask
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, Stage, State
from natscribe.schemas.transcription import TranscriptionTask

_STEP_S = MAX_EVENT_INTERVAL_S / 2


class Player:
    """Simulates the execution of tasks: each attempt, and each delay before a retry, takes `seconds`.

    The prefix of a task id may set another duration of the attempts; see `Script`.
    """

    def __init__(self, log: Log, report: Report, voices: Voices, *, seconds: float) -> None:
        self._log = log
        self._voices = voices
        self._report = report
        self._seconds = seconds
        self._queue: asyncio.PriorityQueue[tuple[tuple[int, ...], PlayedTask]] = asyncio.PriorityQueue()
        self._waiting: set[PlayedTask] = set()
        self._running: PlayedTask | None = None
        self.beside: set[asyncio.Task[None]] = set()  # attempts of live tasks, and the waits of scheduled tasks

    async def enqueue(self, task: PlayedTask) -> None:
        """Append `queued` to the log of a task; then start it if it is a live task, or else put it into the queue.

        A task that may not start yet gets the event `scheduled`, and is queued when it is due.

        Raises:
            BadRequestError: The log already has events, of an earlier run of the mock.
        """
        not_before = due_at(task.sent, task.created_at)
        if not_before > datetime.now(timezone.utc):
            await self._append(task, State.SCHEDULED, not_before=not_before, worker=None, attempt=1)
            self._run_beside(self._queue_when_due(task, not_before))
            return
        self._waiting.add(task)
        try:
            await self._append(task, State.QUEUED, **self.position_of(task), worker=None, attempt=1)
        except BadRequestError:
            self._waiting.discard(task)
            raise
        self._enter(task)

    def _enter(self, task: PlayedTask) -> None:
        """Start a live task at once; put any other task into the queue."""
        if not isinstance(task.sent, LiveTask):
            self._queue.put_nowait((task.rank, task))
            return
        self._waiting.discard(task)
        self._run_beside(self._attempt(task))

    async def _queue_when_due(self, task: PlayedTask, not_before: datetime) -> None:
        await task.sleep((not_before - datetime.now(timezone.utc)).total_seconds())
        with suppress(EndedError):
            if self.is_idle:
                self._enter(task)
            else:
                await self.enqueue(task)

    def _run_beside(self, work: Coroutine[None, None, None]) -> None:
        running = asyncio.create_task(work)
        self.beside.add(running)
        running.add_done_callback(self._discard)

    def _discard(self, ended: asyncio.Task[None]) -> None:
        """Forget an ended asyncio task, but keep a failed one, so that the mock can raise its exception."""
        if ended.cancelled() or ended.exception() is None:
            self.beside.discard(ended)

    @property
    def is_idle(self) -> bool:
        """Whether no recording is being processed; live tasks do not count."""
        return self._running is None

    def is_running(self, task: PlayedTask) -> bool:
        """Whether a task has started and not ended; this includes the delay before its next attempt."""
        return not task.ended.is_set() and task not in self._waiting and task.state is not State.SCHEDULED

    def waiting(self) -> list[PlayedTask]:
        """Return the tasks that wait in the queue, in the order in which they will start."""
        return sorted((task for task in self._waiting if not task.ended.is_set()), key=lambda task: task.rank)

    def position_of(self, task: PlayedTask) -> dict[str, float]:
        """Return the fields of an event or status with the position of a waiting task; none if it does not wait."""
        waiting = self.waiting()
        if task not in waiting:
            return {}
        before = waiting.index(task)
        return {"queue_position": before + 1, "seconds_ahead": before * DURATION_S}

    async def play(self) -> None:
        """Simulate the queued tasks one after another, in an endless loop."""
        while True:
            _, task = await self._queue.get()
            self._waiting.discard(task)
            self._running = task
            try:
                await self._attempt(task)
            finally:
                self._running = None

    async def _attempt(self, task: PlayedTask) -> None:
        """Simulate one attempt of a task, until it ends, or until a client cancels or deletes the task."""
        with suppress(EndedError):
            await self._play_attempt(task)

    async def _play_attempt(self, task: PlayedTask) -> None:
        sent, script = task.sent, task.script
        if sent is None or not script.runs:
            await self._fail(task, script.error)
            return
        task.attempts += 1
        stage = Stage.TRANSCRIBING if isinstance(sent, LiveTask) else Stage.FETCHING
        await self._append(task, State.RUNNING, stage=stage, progress=0, attempt=task.attempts)
        ending = script.ending(task.attempts)
        parts = None if ending is State.COMPLETED else 1
        if isinstance(sent, LiveTask):
            result = await LiveAttempt(self._log, task, sent, self._report).play(utterances=parts)
        else:
            result = await self._process_recording(task, sent, parts)
        if isinstance(result, ErrorDetail):
            await self._fail(task, result)
        else:
            await self._end(task, ending, self._voices.identified(sent, result))

    async def _process_recording(
        self, task: PlayedTask, sent: TranscriptionTask | DiarizationTask, parts: int | None
    ) -> Result | ErrorDetail:
        try:
            sha256 = await self._log.sha256_of(sent.audio_file_id) if parts is None else None
        except NotFoundError:
            message = f"No recording is named {sent.audio_file_id!r}: upload it to the bucket, then submit a new task."
            return ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message=message)
        content = Content(sent, larger_than=self._log.largest if task.script.large else 0)
        await self._play_parts(task, content, parts)
        return content.result(sha256)

    async def _play_parts(self, task: PlayedTask, content: Content, parts: int | None) -> None:
        """Simulate the next `parts` parts of an attempt, or all remaining ones if `parts` is None.

        An attempt consists of parts of equal duration. Each part takes its time, and appends progress events and, if it
        transcribes, segments.
        """
        sent = content.sent
        whole = self._seconds if task.script.seconds is None else task.script.seconds
        stages = _stages(sent)
        last = len(stages) if parts is None else min(task.batches + parts, len(stages))
        for number in range(task.batches, last):
            stage, seconds = stages[number], whole / len(stages)
            steps = math.ceil(seconds / _STEP_S) or 1
            for step in range(1, steps + 1):
                await task.sleep(seconds / steps)
                done = number + step / steps
                if step == steps and stage is Stage.TRANSCRIBING and isinstance(sent, TranscriptionTask):
                    segment = content.segment(sent, number, with_words=sent.word_timestamps or sent.diarize)
                    async with task.appending():
                        await self._log.append_segment(task, segment, DURATION_S * (number + 1) / BATCHES)
                    self._report(f"{task.task_id}: segments up to {segment.end:.1f} s")
                is_appended = await self._log.append_progress(
                    task,
                    stage=stage,
                    progress=min(int(100 * done / len(stages)), 99),
                    processed_seconds=DURATION_S * (int(done) - stages.index(stage)) / stages.count(stage),
                    duration_seconds=DURATION_S,
                    eta_seconds=whole * (1 - done / len(stages)),
                )
                if is_appended:
                    self._report_state(task)

    async def _end(self, task: PlayedTask, ending: State | None, result: Result) -> None:
        """End an attempt in the state `ending`: complete or fail the task, or schedule its next attempt.

        `ending`: None if the attempt simulates a lost worker; the next attempt then follows without the event
        `retrying`.
        """
        error = task.script.error
        if ending is State.COMPLETED:
            async with task.appending():
                await self._log.store_result(task, result)
                await self._log.append(task, State.COMPLETED, progress=100, duration_seconds=result.duration)
            self._report(f"{task.task_id}: {task.state}")
            return
        if ending is State.FAILED:
            await self._fail(task, error)
            return
        if ending is None:
            self._report(f"{task.task_id}: its worker is lost")
        else:
            retry_at = datetime.now(timezone.utc) + timedelta(seconds=self._seconds)
            stage = task.last.stage if task.last else None
            await self._append(task, State.RETRYING, stage=stage, error=error, retry_at=retry_at)
        asyncio.get_running_loop().call_later(self._seconds, self._enter, task)

    async def _fail(self, task: PlayedTask, error: ErrorDetail | None) -> None:
        async with task.appending():
            if error is not None and not error.code.is_client_error:
                await self._log.store_dead_letter(task.message, task.task_id, error, attempts=task.attempts)
            await self._log.append(task, State.FAILED, error=error)
        self._report(f"{task.task_id}: {task.state}")

    async def _append(self, task: PlayedTask, state: State, **fields: object) -> None:
        async with task.appending():
            await self._log.append(task, state, **fields)
        self._report_state(task)

    def _report_state(self, task: PlayedTask) -> None:
        self._report(f"{task.task_id}: {task.state}, {task.last.progress if task.last else 0} %")


def _stages(sent: Task) -> list[Stage]:
    """Return the stage (transcribing or diarizing) of each of the equal parts of a simulated attempt, in order."""
    if not isinstance(sent, TranscriptionTask):
        return [Stage.DIARIZING] * BATCHES
    return [Stage.TRANSCRIBING] * BATCHES + [Stage.DIARIZING] * sent.diarize
