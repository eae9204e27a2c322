"""Plays tasks as one worker runs them: one after the other, and live tasks beside them."""

import asyncio
import math
from contextlib import suppress
from datetime import datetime, timedelta, timezone

from nats.js.errors import BadRequestError, NotFoundError

from natscribe.mock.content import BATCHES, Content
from natscribe.mock.live import Report, hear
from natscribe.mock.log import Log
from natscribe.mock.script import Ending
from natscribe.mock.task import EndedError, PlayedTask
from natscribe.mock.voices import Voices
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import Result, Task, needs_speaker_search
from natscribe.schemas.live import LiveTask
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, MIN_EVENT_INTERVAL_S, Stage, State
from natscribe.schemas.transcription import Channels, TranscriptionTask

_BEAT_S = MAX_EVENT_INTERVAL_S / 2


class Player:
    """Plays tasks; each attempt takes `seconds`, and so does the pause before the next attempt."""

    def __init__(self, log: Log, report: Report, voices: Voices, *, seconds: float) -> None:
        self._log = log
        self._voices = voices
        self._report = report
        self._seconds = seconds
        self._queue: asyncio.PriorityQueue[tuple[tuple[int, int], PlayedTask]] = asyncio.PriorityQueue()
        self._waiting: set[PlayedTask] = set()
        self._running: PlayedTask | None = None
        self.live: set[asyncio.Task[None]] = set()  # attempts of live tasks, which run beside the other tasks

    async def enqueue(self, task: PlayedTask) -> None:
        """Append `queued` to the log of a task; then a live task starts at once, and any other waits in the queue.

        Raises:
            BadRequestError: The log has events of an earlier run of the mock.
        """
        self._waiting.add(task)
        position, start = self.place_of(task)
        try:
            await self._append(
                task, State.QUEUED, queue_position=position, expected_start=start, worker=None, attempt=1
            )
        except BadRequestError:
            self._waiting.discard(task)
            raise
        self._enter(task)

    def _enter(self, task: PlayedTask) -> None:
        """Start a live task at once; let any other wait in the queue."""
        if not isinstance(task.sent, LiveTask):
            self._queue.put_nowait((task.rank, task))
            return
        self._waiting.discard(task)
        playing = asyncio.create_task(self._until_ended(task))
        self.live.add(playing)
        playing.add_done_callback(self._forget)

    def _forget(self, playing: asyncio.Task[None]) -> None:
        if playing.cancelled() or playing.exception() is None:  # the mock looks for errors among the others
            self.live.discard(playing)

    @property
    def is_idle(self) -> bool:
        """Whether no attempt runs."""
        return self._running is None

    def is_running(self, task: PlayedTask) -> bool:
        """Whether the task runs, or waits for its next attempt."""
        return not task.ended.is_set() and task not in self._waiting

    def waiting(self) -> list[PlayedTask]:
        """Return the tasks that wait, in the order in which they start."""
        return sorted((task for task in self._waiting if not task.ended.is_set()), key=lambda task: task.rank)

    def place_of(self, task: PlayedTask) -> tuple[int | None, datetime | None]:
        """Return the position of a waiting task and its expected start; None for both if the task does not wait."""
        waiting = self.waiting()
        if task not in waiting:
            return None, None
        before = waiting.index(task)
        ahead = before + (self._running is not None)
        return before + 1, datetime.now(timezone.utc) + timedelta(seconds=ahead * self._seconds)

    async def play(self) -> None:
        """Play tasks for ever, the next one when the last one has ended."""
        while True:
            _, task = await self._queue.get()
            self._waiting.discard(task)
            self._running = task
            try:
                await self._until_ended(task)
            finally:
                self._running = None

    async def _until_ended(self, task: PlayedTask) -> None:
        """Play one attempt of a task, until its end or until a client ends the task."""
        with suppress(EndedError):
            await self._attempt(task)

    async def _attempt(self, task: PlayedTask) -> None:
        sent, script = task.sent, task.script
        if sent is None or not script.runs:
            await self._fail(task, script.error)
            return
        task.attempts += 1
        stage = Stage.TRANSCRIBING if isinstance(sent, LiveTask) else Stage.FETCHING
        await self._append(task, State.RUNNING, stage=stage, progress=0, attempt=task.attempts)
        ending = script.ending(task.attempts)
        if isinstance(sent, LiveTask):
            only = None if ending is Ending.COMPLETED else 1
            heard = await hear(self._log, task, sent, self._report, only=only)
            if isinstance(heard, ErrorDetail):
                await self._fail(task, heard)
            else:
                await self._end(task, ending, self._voices.identified(sent, heard))
            return
        try:
            sha256 = await self._log.sha256_of(sent.audio_file_id) if ending is Ending.COMPLETED else None
        except NotFoundError:
            await self._fail(task, _no_recording(sent))
            return
        content = Content(sent, larger_than=self._log.largest if script.large else 0)
        await self._work(task, content, parts=None if ending is Ending.COMPLETED else 1)
        await self._end(task, ending, self._voices.identified(sent, content.result(sha256)))

    async def _work(self, task: PlayedTask, content: Content, *, parts: int | None) -> None:
        """Play `parts` more parts of a task: pass their time, append segments and progress; None: all that are left."""
        sent, duration = content.sent, content.duration
        whole = self._seconds if task.script.seconds is None else task.script.seconds
        stages = _stages(sent)
        last = len(stages) if parts is None else min(task.batches + parts, len(stages))
        for number in range(task.batches, last):
            stage, seconds = stages[number], whole / len(stages)
            beats = math.ceil(seconds / _BEAT_S) or 1
            for beat in range(1, beats + 1):
                await task.sleep(seconds / beats)
                done = number + beat / beats
                if beat == beats and stage is Stage.TRANSCRIBING and isinstance(sent, TranscriptionTask):
                    found = content.batch(sent, number)
                    async with task.turn():
                        await self._log.append_segments(task, found, duration * (number + 1) / BATCHES)
                    self._report(f"{task.task_id}: segments up to {found[-1].end:.1f} s")
                await self._progress(
                    task,
                    stage=stage,
                    progress=min(int(100 * done / len(stages)), 99),
                    processed_seconds=duration * (int(done) - stages.index(stage)) / stages.count(stage),
                    duration_seconds=duration,
                    eta_seconds=whole * (1 - done / len(stages)),
                )

    async def _progress(self, task: PlayedTask, **fields: object) -> None:
        """Append `running`, unless the last event is less than a second old."""
        last = task.last
        if last is None or (datetime.now(timezone.utc) - last.time).total_seconds() >= MIN_EVENT_INTERVAL_S:
            await self._append(task, State.RUNNING, **fields)

    async def _end(self, task: PlayedTask, ending: Ending, result: Result) -> None:
        """End an attempt, and the task with it unless another attempt follows."""
        loop, error = asyncio.get_running_loop(), task.script.error
        if ending is Ending.COMPLETED:
            async with task.turn():
                await self._log.store_result(task, result)
                await self._log.append(task, State.COMPLETED, progress=100, duration_seconds=result.duration)
            await self._settle(task)
        elif ending is Ending.FAILED:
            await self._fail(task, error)
        else:
            if ending is Ending.RETRYING:
                retry_at = datetime.now(timezone.utc) + timedelta(seconds=self._seconds)
                stage = task.last.stage if task.last else None
                await self._append(task, State.RETRYING, stage=stage, error=error, retry_at=retry_at)
            else:
                self._report(f"{task.task_id}: its worker is lost")
            loop.call_later(self._seconds, self._enter, task)

    async def _fail(self, task: PlayedTask, error: ErrorDetail | None) -> None:
        async with task.turn():
            if error is not None:
                await self._log.store_letter(task.message, task.task_id, error, attempts=task.attempts)
            await self._log.append(task, State.FAILED, error=error)
        await self._settle(task)

    async def _settle(self, task: PlayedTask) -> None:
        self._report(f"{task.task_id}: {task.state}")
        await task.delivery.ack()

    async def _append(self, task: PlayedTask, state: State, **fields: object) -> None:
        async with task.turn():
            await self._log.append(task, state, **fields)
        self._report(f"{task.task_id}: {state}, {task.last.progress if task.last else 0} %")


def _stages(sent: Task) -> list[Stage]:
    """Return the stage of each part of an attempt, in order; all parts take the same time."""
    if not isinstance(sent, TranscriptionTask):
        return [Stage.DIARIZING] * BATCHES
    has_search = needs_speaker_search(sent, separate=sent.channels is Channels.SEPARATE)
    return [Stage.TRANSCRIBING] * BATCHES + [Stage.DIARIZING] * has_search


def _no_recording(sent: Task) -> ErrorDetail:
    message = f"No recording is named {sent.audio_file_id!r}: upload it to the bucket, then publish a new task."
    return ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message=message)
