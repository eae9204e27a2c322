"""The windows of one recording: found by the listener, heard in batches by whoever is there, told in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext
from itertools import dropwhile
from typing import Protocol

from app.engines.engine import Engine
from app.engines.messages import Listen, Load, RecordingOpened, Reply, StageAdvanced, Transcribe, WindowsTranscribed
from app.engines.window_transcribers import OwnEngine, WindowTranscriber, load
from app.speech.found_windows import FoundWindows
from app.speech.transcriber_pool import Batch, BatchSizes, Transcribed, TranscriberPool
from schemas.progress import Stage
from schemas.wire import Model

_BATCH_SECONDS = 10.0
_AHEAD = 2  # batches for each who hears that may wait to be told

Told = StageAdvanced | Transcribed


class Lender(Protocol):
    """Finds others who help to hear."""

    def want(self, *, more: bool, seconds: float) -> None:
        """Whether more windows wait than this worker hears next, and how long a batch takes."""
        ...

    async def helper(self) -> WindowTranscriber:
        """The next one who comes."""
        ...


Lending = Callable[[Model], AbstractAsyncContextManager[Lender | None]]


def alone(_model: Model) -> AbstractAsyncContextManager[None]:
    """Nobody helps."""
    return nullcontext()


class WindowsInOrder:
    """One run over a recording; `language` is what was spoken last, and `model` transcribes.

    What is said in a window may depend on the language before it. Where windows are transcribed side by side, a batch
    is taken to follow what was spoken last by then; if that proves wrong, and matters, it is transcribed again.
    """

    def __init__(
        self, engine: Engine, listen: Listen, hear: Transcribe, lending: Lending = alone, *, batches: BatchSizes
    ) -> None:
        """Each batch is heard as `hear` says, whose own windows do not matter.

        `hear.previous` is the language that was spoken last before `listen.start_at`.
        """
        self._engine = engine
        self._listen = listen
        self._hear = hear
        self._lending = lending
        self._batches = batches
        self.language = hear.previous
        self.model: Model | None = None
        self._told = listen.start_at  # seconds
        self._begun = False
        self._understood = False  # something was said: it is known how long a window takes
        self._size = batches.first  # windows of the next batch
        self._pace = 0.0  # seconds a window
        self._found = FoundWindows()
        self._pool = TranscriberPool(OwnEngine(engine))
        self._back: deque[Batch] = deque()  # to be transcribed again
        self._order: deque[Batch | StageAdvanced] = deque()  # to be told
        self._reading: asyncio.Task[Reply] | None = None
        self._lender: Lender | None = None
        self._joining: asyncio.Task[WindowTranscriber] | None = None

    @property
    def duration(self) -> float:
        """Seconds of the recording, as far as known."""
        return self._found.duration

    @property
    def channels(self) -> int:
        """How many channels the recording has, once it is opened."""
        return self._found.channels

    async def run(self) -> AsyncGenerator[Told, None]:
        """Yield what is found, in order (TaskError)."""
        async with AsyncExitStack() as stack:
            replies = await stack.enter_async_context(aclosing(self._engine.run(self._listen)))
            stack.push_async_callback(self._stop)
            self._read(replies)
            self.model = await load(self._engine, Load(options=self._hear.options))
            while True:
                self._go_on(replies)
                for told in self._tellable():
                    yield told
                if self._finished:
                    return
                if self._back and self._pool.idle:
                    continue
                await self._something_happens()
                if self._understood and self._lender is None:
                    lending, self._lending = self._lending(self.model), alone
                    self._lender = await stack.enter_async_context(lending)

    @property
    def _finished(self) -> bool:
        return self._found.complete and not self._found and not self._order

    def _go_on(self, replies: AsyncGenerator[Reply, None]) -> None:
        """Begin whatever can be begun; nobody waits here."""
        self._pass_silence()
        while self._pool.idle and (batch := self._next_batch()):
            batch.previous = self.language
            self._pool.give(self._hear.model_copy(update={"windows": batch.windows, "previous": batch.previous}), batch)
            self._pass_silence()
        if self._reading is None and not self._found.complete and len(self._found) < self._read_ahead:
            self._read(replies)
        if self._lender is not None:
            self._lender.want(more=len(self._found) > self._size, seconds=self._size * self._pace)
            if self._joining is None:
                self._joining = asyncio.create_task(self._lender.helper())

    @property
    def _read_ahead(self) -> int:
        return (len(self._pool) + 1) * self._batches.largest

    def _read(self, replies: AsyncGenerator[Reply, None]) -> None:
        self._reading = asyncio.create_task(_next(replies))

    def _next_batch(self) -> Batch | None:
        if self._back:
            return self._back.popleft()
        if self._held_back >= _AHEAD * len(self._pool):
            return None  # one is slow: what is heard meanwhile is neither told nor saved
        windows = self._found.take_batch(self._size)
        if not windows:
            return None
        if not self._begun:
            self._begun = True
            self._order.append(self._advanced(self._told))
        batch = Batch(windows)
        self._order.append(batch)
        return batch

    @property
    def _held_back(self) -> int:
        """Batches that cannot be told yet."""
        from_first_unheard = dropwhile(lambda each: not isinstance(each, Batch) or each.heard, self._order)
        return sum(isinstance(each, Batch) for each in from_first_unheard)

    def _pass_silence(self) -> None:
        while (settled := self._found.take_silence()) is not None:
            if settled > self._told:
                self._told, self._begun = settled, True
                self._order.append(self._advanced(settled))

    def _tellable(self) -> Iterator[Told]:
        while self._order:
            first = self._order[0]
            if isinstance(first, StageAdvanced):
                self._order.popleft()
                yield first
                continue
            if first.heard is None:
                return
            if first.previous != self.language and not first.heard.settled:
                first.heard = None
                self._back.append(first)
                return
            self._order.popleft()
            yield self._transcribed(first, first.heard)

    def _transcribed(self, batch: Batch, heard: WindowsTranscribed) -> Transcribed:
        self.language = heard.language or self.language
        segments = [segment for window in heard.found for segment in window.segments]
        untranscribed = [stretch for window in heard.found for stretch in window.untranscribed]
        return Transcribed(self.language, batch.windows[-1].end, self.duration, segments, untranscribed)

    async def _something_happens(self) -> None:
        """Wait for the listener's next word, the end of a batch or a helper (TaskError)."""
        waiting = [task for task in (self._reading, self._joining) if task is not None]
        await asyncio.wait([*waiting, *self._pool.tasks], return_when=asyncio.FIRST_COMPLETED)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._notice(reading.result())
        if self._joining is not None and self._joining.done():
            joining, self._joining = self._joining, None
            self._pool.join(joining.result())
        for batch, heard in self._pool.done():
            self._learn(batch, heard)

    def _notice(self, reply: Reply) -> None:
        self._found.notice(reply)
        if isinstance(reply, RecordingOpened):
            self._order.append(
                StageAdvanced(
                    stage=Stage.DECODING, processed_seconds=self._told, duration_seconds=reply.duration_seconds
                )
            )

    def _learn(self, batch: Batch, heard: WindowsTranscribed | None) -> None:
        if heard is None:
            self._back.append(batch)
            return
        batch.heard = heard
        if any(window.segments for window in heard.found):  # until then batches stay small
            self._understood = True
            self._pace = max(heard.seconds / len(batch.windows), 1e-3)
            self._size = self._batches.fitting(_BATCH_SECONDS / self._pace)

    def _advanced(self, seconds: float) -> StageAdvanced:
        return StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=self.duration)

    async def _stop(self) -> None:
        waiting = [task for task in (self._reading, self._joining) if task is not None]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, self._pool.stop(), return_exceptions=True)


async def _next(replies: AsyncGenerator[Reply, None]) -> Reply:
    return await anext(replies)
