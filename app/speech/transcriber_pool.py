"""The transcriber pool: who transcribes the windows of one run, this worker's own engine and helpers as they come."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed
from app.engines.window_transcribers import HelperLostError, WindowTranscriber
from schemas.transcription import Segment, Stretch


@dataclass(frozen=True, slots=True)
class Transcribed:
    """A batch of windows is done; everything up to `processed_seconds` is. `language` is what was spoken last."""

    language: str | None
    processed_seconds: float
    duration_seconds: float
    segments: Sequence[Segment]
    untranscribed: Sequence[Stretch] = ()


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """How many windows a batch has at most, and the first one: as many as are transcribed at the same time."""

    largest: int
    first: int = 1

    def fitting(self, windows: float) -> int:
        """About so many windows, with which all who work at the same time are done at once."""
        return min(max(int(windows / self.first), 1) * self.first, self.largest)


@dataclass(slots=True, eq=False)
class Batch:
    """Windows that are transcribed at once, taken to follow speech in the language `previous`."""

    windows: list[WindowSound]
    previous: str | None = None
    heard: WindowsTranscribed | None = None


class TranscriberPool:
    """Each has one batch at a time; who is lost gives its batch back and is not asked again."""

    def __init__(self, own: WindowTranscriber) -> None:
        self._own = own
        self._idle: deque[WindowTranscriber] = deque([own])
        self._busy: dict[asyncio.Task[WindowsTranscribed], tuple[WindowTranscriber, Batch]] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    @property
    def idle(self) -> bool:
        """Whether somebody waits for a batch."""
        return bool(self._idle)

    @property
    def tasks(self) -> Sequence[asyncio.Task[WindowsTranscribed]]:
        """What is under way."""
        return list(self._busy)

    def join(self, helper: WindowTranscriber) -> None:
        """One more."""
        self._idle.append(helper)

    def give(self, job: Transcribe, batch: Batch) -> None:
        """Give a batch to who waits, the own engine first."""
        transcriber = self._idle.popleft()
        self._busy[asyncio.create_task(transcriber.transcribe(job))] = transcriber, batch

    def done(self) -> Iterator[tuple[Batch, WindowsTranscribed | None]]:
        """The batches that came back since, null with those whose transcriber was lost (TaskError)."""
        for task in [task for task in self._busy if task.done()]:
            transcriber, batch = self._busy.pop(task)
            try:
                transcribed = task.result()
            except HelperLostError:
                yield batch, None
                continue
            (self._idle.appendleft if transcriber is self._own else self._idle.append)(transcriber)
            yield batch, transcribed

    async def stop(self) -> None:
        """Give no more, and end what is under way."""
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
