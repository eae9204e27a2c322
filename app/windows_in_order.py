"""The windows of one recording: found by the listener, heard in batches, told in order."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from app.engines.engine import Engine
from app.engines.messages import Hear, Heard, Job, Listen, Load, Loaded, Reply, StageAdvanced, WindowSound
from app.found_windows import FoundWindows
from schemas.progress import Stage
from schemas.transcription import Segment
from schemas.wire import Model

_BATCH_SECONDS = 10.0
_LARGEST_BATCH = 4  # windows; more at once gain nothing
_READ_AHEAD = 2 * _LARGEST_BATCH  # windows


@dataclass(frozen=True, slots=True)
class Transcribed:
    """A batch of windows is done; everything up to `processed_seconds` is."""

    language: str | None
    processed_seconds: float
    duration_seconds: float
    segments: Sequence[Segment]


Told = StageAdvanced | Transcribed


@dataclass(slots=True)
class _Batch:
    windows: list[WindowSound]
    told: Transcribed | None = None


class WindowsInOrder:
    """One run over a recording; `language` and `model` are what is known so far."""

    def __init__(self, engine: Engine, listen: Listen, hear: Hear) -> None:
        """Each batch is heard as `hear` says, whose own windows do not matter."""
        self._engine = engine
        self._listen = listen
        self._hear = hear
        self.language = hear.language
        self.model: Model | None = None
        self._told = listen.start_at  # seconds
        self._begun = False
        self._size = 1  # windows of the next batch
        self._found = FoundWindows()
        self._order: deque[_Batch | StageAdvanced] = deque()  # to be told
        self._reading: asyncio.Task[Reply] | None = None
        self._hearing: tuple[_Batch, asyncio.Task[Heard]] | None = None

    @property
    def duration(self) -> float:
        """Seconds of the recording, as far as known."""
        return self._found.duration

    async def run(self) -> AsyncGenerator[Told, None]:
        """Yield what is found, in order (TaskError)."""
        async with aclosing(self._engine.run(self._listen)) as replies:
            try:
                self._read(replies)
                self.model = await load(self._engine, Load(model=self._hear.model, language=self._hear.language))
                while True:
                    self._go_on(replies)
                    for told in self._tellable():
                        yield told
                    if self._finished:
                        return
                    await self._something_happens()
            finally:
                await self._stop()

    @property
    def _finished(self) -> bool:
        return self._found.complete and not self._found and not self._order

    def _go_on(self, replies: AsyncGenerator[Reply, None]) -> None:
        """Begin whatever can be begun; nobody waits here."""
        self._pass_silence()
        if self._hearing is None and (windows := self._found.take_batch(self._size)):
            self._hear_batch(windows)
            self._pass_silence()
        if self._reading is None and not self._found.complete and len(self._found) < _READ_AHEAD:
            self._read(replies)

    def _read(self, replies: AsyncGenerator[Reply, None]) -> None:
        self._reading = asyncio.create_task(_next(replies))

    def _hear_batch(self, windows: list[WindowSound]) -> None:
        if not self._begun:
            self._begun = True
            self._order.append(self._advanced(self._told))
        batch = _Batch(windows)
        self._order.append(batch)
        job = self._hear.model_copy(update={"windows": windows, "language": self.language})
        self._hearing = batch, asyncio.create_task(_hear(self._engine, job))

    def _pass_silence(self) -> None:
        while (settled := self._found.take_silence()) is not None:
            if settled > self._told:
                self._told, self._begun = settled, True
                self._order.append(self._advanced(settled))

    def _tellable(self) -> Iterator[Told]:
        while self._order:
            first = self._order[0]
            told = first.told if isinstance(first, _Batch) else first
            if told is None:
                return
            self._order.popleft()
            yield told

    async def _something_happens(self) -> None:
        """Wait for the listener's next word or the end of a batch (TaskError)."""
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._notice(reading.result())
        if self._hearing is not None and self._hearing[1].done():
            (batch, hearing), self._hearing = self._hearing, None
            self._learn(batch, hearing.result())

    def _notice(self, reply: Reply) -> None:
        self._found.notice(reply)
        if isinstance(reply, StageAdvanced):
            self._order.append(reply)

    def _learn(self, batch: _Batch, heard: Heard) -> None:
        segments = [segment for window in heard.found for segment in window]
        if segments:  # until something is said, the language stays open and batches small
            self.language = heard.language
            seconds = max(heard.seconds / len(batch.windows), 1e-3)
            self._size = min(max(int(_BATCH_SECONDS / seconds), 1), _LARGEST_BATCH)
        batch.told = Transcribed(self.language, batch.windows[-1].end, self.duration, segments)
        batch.windows = []  # their sound is not needed any more

    def _advanced(self, seconds: float) -> StageAdvanced:
        return StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=self.duration)

    def _tasks(self) -> list[asyncio.Task[Reply] | asyncio.Task[Heard]]:
        hearing = self._hearing[1] if self._hearing else None
        return [task for task in (self._reading, hearing) if task is not None]

    async def _stop(self) -> None:
        for task in self._tasks():
            task.cancel()
        await asyncio.gather(*self._tasks(), return_exceptions=True)


async def _next(replies: AsyncGenerator[Reply, None]) -> Reply:
    return await anext(replies)


async def load(engine: Engine, job: Load) -> Model:
    """Which model the engine has loaded then (TaskError)."""
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, Loaded):
                return reply.model
    raise _silent(job)


async def _hear(engine: Engine, job: Hear) -> Heard:
    async with aclosing(engine.run(job)) as replies:
        async for reply in replies:
            if isinstance(reply, Heard):
                return reply
    raise _silent(job)


def _silent(job: Job) -> RuntimeError:
    return RuntimeError(f"the engine did not answer a job: {job.type}")
