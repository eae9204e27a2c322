"""The pipeline of one recording: find windows, transcribe batches of windows, and yield the texts in order.

This worker's engine and helpers transcribe batches at the same time.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile

from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Segment, Stretch
from natscribe.schemas.wire import Model

from app.engines.engine import Engine, answer
from app.engines.messages import (
    Listen,
    Load,
    Loaded,
    RecordingOpened,
    Reply,
    StageAdvanced,
    Transcribe,
    WindowSound,
    WindowsTranscribed,
)
from app.speech.found_windows import FoundWindows
from app.work_sharing.coordinator import Coordinator, HelperLostError

_BATCH_S = 10.0  # how long transcribing a batch should take
_AHEAD = 2  # most batches for each transcriber, counted from the first unfinished batch on

Transcriber = Callable[[Transcribe], Coroutine[None, None, WindowsTranscribed]]
Coordination = Callable[[Model], AbstractAsyncContextManager[Coordinator | None]]


@dataclass(frozen=True, slots=True)
class Transcribed:
    """The next part of the transcript, up to `processed_seconds`; `language` is the language spoken last."""

    language: str | None
    processed_seconds: float
    duration_seconds: float
    segments: Sequence[Segment]
    untranscribed: Sequence[Stretch] = ()


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many windows the largest and the first batch have; the engine transcribes `first` windows at once."""

    largest: int
    first: int = 1


@dataclass(slots=True, eq=False)
class Batch:
    """Windows that are transcribed together; `previous` is the language assumed before the first window."""

    windows: list[WindowSound]
    previous: str | None = None
    answer: WindowsTranscribed | None = None


class Pipeline:
    """One run over a recording; `language` is the language spoken last, `model` the model that transcribes.

    The text of a window may depend on the language before the window. A batch may start before that language is known;
    the latest known language is assumed then. If the assumption was wrong and the texts depend on it, the batch is
    transcribed again.
    """

    def __init__(
        self,
        engine: Engine,
        listen: Listen,
        transcribe: Transcribe,
        coordination: Coordination | None = None,
        *,
        batches: BatchSizes,
    ) -> None:
        """Take the job of the listener and the job of each batch, without windows; `coordination` finds helpers.

        `transcribe.previous` is the language spoken last before `listen.start_at`.
        """
        self._engine = engine
        self._listen = listen
        self._job = transcribe
        self._coordination = coordination
        self._batches = batches
        self.language = transcribe.previous
        self.model: Model | None = None
        self._reached = listen.start_at  # the second up to which `_order` has progress
        self._begun = False  # whether `_order` has had progress of the transcription
        self._has_text = False  # whether a batch had text: only then is `_window_seconds` known
        self._size = batches.first  # windows in the next batch
        self._window_seconds = 0.0  # how long transcribing a window with text takes
        self._found = FoundWindows()
        self._pool = TranscriberPool(partial(answer, engine, kind=WindowsTranscribed))
        self._again: deque[Batch] = deque()  # the batches to transcribe again
        self._order: deque[Batch | StageAdvanced] = deque()  # what is to be yielded, in the order of the recording
        self._reading: asyncio.Future[Reply] | None = None
        self._coordinator: Coordinator | None = None
        self._joining: asyncio.Task[Transcriber] | None = None

    @property
    def duration(self) -> float:
        """The length of the recording in seconds, as far as known."""
        return self._found.duration

    @property
    def channels(self) -> int:
        """The number of the recording's channels; 1 until the recording is opened."""
        return self._found.channels

    @property
    def channel(self) -> int | None:
        """The channel that is transcribed; null: all channels mixed, or the recording is not opened yet."""
        return self._found.channel

    @property
    def helped(self) -> bool:
        """Whether a helper has transcribed any batch so far."""
        return self._pool.helped

    async def run(self) -> AsyncGenerator[StageAdvanced | Transcribed, None]:
        """Yield progress and texts, in the order of the recording.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        async with AsyncExitStack() as stack:
            replies = await stack.enter_async_context(aclosing(self._engine.run(self._listen)))
            stack.push_async_callback(self._stop)
            self._read(replies)
            self.model = (await answer(self._engine, Load(options=self._job.options), Loaded)).model
            while True:
                ready = list(self._in_order())  # before the next batch begins: it follows the language of these texts
                self._start_work(replies)
                for each in (*ready, *self._in_order()):
                    yield each
                if self._found.complete and not self._found and not self._order:
                    return
                await self._wait()
                if self._has_text and self._coordination is not None:
                    coordination, self._coordination = self._coordination(self.model), None
                    self._coordinator = await stack.enter_async_context(coordination)

    def _start_work(self, replies: AsyncGenerator[Reply, None]) -> None:
        """Start batches, the listener's next reply and the search for a helper, without waiting for any of them."""
        self._pass_silence()
        while self._pool.idle and (batch := self._next_batch()):
            batch.previous = self.language
            self._pool.start(self._job.model_copy(update={"windows": batch.windows, "previous": self.language}), batch)
            self._pass_silence()
        read_ahead = (len(self._pool) + 1) * self._batches.largest
        if self._reading is None and not self._found.complete and len(self._found) < read_ahead:
            self._read(replies)
        if self._coordinator is not None:
            batch_seconds = self._size * self._window_seconds
            self._coordinator.update(wanted=len(self._found) > self._size, batch_seconds=batch_seconds)
            if self._joining is None:
                self._joining = asyncio.create_task(self._coordinator.next_helper())

    def _read(self, replies: AsyncGenerator[Reply, None]) -> None:
        self._reading = asyncio.ensure_future(anext(replies))

    def _next_batch(self) -> Batch | None:
        if self._again:
            return self._again.popleft()
        from_first_open = dropwhile(lambda each: not isinstance(each, Batch) or each.answer, self._order)
        if sum(isinstance(each, Batch) for each in from_first_open) >= _AHEAD * len(self._pool):
            return None  # texts behind a slow batch can be neither yielded nor saved
        windows = self._found.take_batch(self._size)
        if not windows:
            return None
        if not self._begun:
            self._advance(self._reached)
        batch = Batch(windows)
        self._order.append(batch)
        return batch

    def _pass_silence(self) -> None:
        while (settled := self._found.take_silence()) is not None:
            if settled > self._reached:
                self._advance(settled)

    def _advance(self, seconds: float) -> None:
        self._reached, self._begun = seconds, True
        self._order.append(
            StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=self.duration)
        )

    def _in_order(self) -> Iterator[StageAdvanced | Transcribed]:
        """Yield progress and texts up to the first batch without a final answer."""
        while self._order:
            first = self._order[0]
            if isinstance(first, StageAdvanced):
                yield first
            elif first.answer is None:
                return
            elif first.previous != self.language and not first.answer.settled:
                first.answer = None
                self._again.append(first)
                return
            else:
                yield self._transcribed(first, first.answer)
            self._order.popleft()

    def _transcribed(self, batch: Batch, found: WindowsTranscribed) -> Transcribed:
        self.language = found.language or self.language
        segments = [segment for window in found.found for segment in window.segments]
        untranscribed = [stretch for window in found.found for stretch in window.untranscribed]
        return Transcribed(self.language, batch.windows[-1].end, self.duration, segments, untranscribed)

    async def _wait(self) -> None:
        """Wait for a reply of the listener, the end of a batch or a new helper, and handle all that have arrived.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        waiting = [task for task in (self._reading, self._joining) if task is not None]
        await asyncio.wait([*waiting, *self._pool.tasks], return_when=asyncio.FIRST_COMPLETED)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._receive(reading.result())
        if self._joining is not None and self._joining.done():
            joining, self._joining = self._joining, None
            self._pool.add(joining.result())
        for batch in self._pool.finished():
            if batch.answer is None:
                self._again.append(batch)
            else:
                self._measure(batch.answer)

    def _receive(self, reply: Reply) -> None:
        self._found.receive(reply)
        if isinstance(reply, RecordingOpened):
            self._order.append(
                StageAdvanced(
                    stage=Stage.DECODING, processed_seconds=self._reached, duration_seconds=reply.duration_seconds
                )
            )

    def _measure(self, found: WindowsTranscribed) -> None:
        """Choose the size of the next batches by the time of a window; small until there is text."""
        if any(window.segments for window in found.found):
            self._has_text = True
            self._window_seconds = max(found.seconds / len(found.found), 1e-3)
            at_once = self._batches.first
            rounds = max(int(_BATCH_S / self._window_seconds / at_once), 1)
            self._size = min(rounds * at_once, self._batches.largest)

    async def _stop(self) -> None:
        waiting = [task for task in (self._reading, self._joining) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, self._pool.stop(), return_exceptions=True)


class TranscriberPool:
    """This worker's engine and the helpers, each with one batch at a time; a lost helper leaves the pool."""

    def __init__(self, own: Transcriber) -> None:
        self._own = own
        self.helped = False  # whether a helper has transcribed a batch
        self._idle: deque[Transcriber] = deque([own])
        self._busy: dict[asyncio.Task[WindowsTranscribed], tuple[Transcriber, Batch]] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    @property
    def idle(self) -> bool:
        """Whether a transcriber waits for a batch."""
        return bool(self._idle)

    @property
    def tasks(self) -> Sequence[asyncio.Task[WindowsTranscribed]]:
        """The asyncio tasks of the batches that are being transcribed."""
        return list(self._busy)

    def add(self, helper: Transcriber) -> None:
        """Add a helper to the pool."""
        self._idle.append(helper)

    def start(self, job: Transcribe, batch: Batch) -> None:
        """Give a batch to an idle transcriber, this worker's engine first."""
        transcriber = self._idle.popleft()
        self._busy[asyncio.create_task(transcriber(job))] = transcriber, batch

    def finished(self) -> Iterator[Batch]:
        """Yield the batches that have ended since the last call; a batch whose helper was lost has no answer.

        Raises:
            TaskError: The engine failed.
        """
        for task in [task for task in self._busy if task.done()]:
            transcriber, batch = self._busy.pop(task)
            try:
                batch.answer = task.result()
            except HelperLostError:
                yield batch
                continue
            self.helped = self.helped or transcriber is not self._own
            (self._idle.appendleft if transcriber is self._own else self._idle.append)(transcriber)
            yield batch

    async def stop(self) -> None:
        """Cancel the batches that are being transcribed."""
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
