"""Those who hear the windows of one run: this worker's own engine, and helpers as they come."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.engines.ears import Ear, EarLostError
from app.engines.messages import Hear, Heard, WindowSound
from schemas.transcription import Segment


@dataclass(frozen=True, slots=True)
class Transcribed:
    """A batch of windows is done; everything up to `processed_seconds` is."""

    language: str | None
    processed_seconds: float
    duration_seconds: float
    segments: Sequence[Segment]


@dataclass(slots=True, eq=False)
class Batch:
    """Windows that are heard at once; `told` when that is done."""

    windows: list[WindowSound]
    told: Transcribed | None = None


class Hearers:
    """Each hears one batch at a time; who is lost gives its batch back and is not asked again."""

    def __init__(self, own: Ear) -> None:
        self._own = own
        self._idle: deque[Ear] = deque([own])
        self._busy: dict[asyncio.Task[Heard], tuple[Ear, Batch]] = {}

    def __len__(self) -> int:
        return len(self._idle) + len(self._busy)

    @property
    def idle(self) -> bool:
        """Whether somebody waits for a batch."""
        return bool(self._idle)

    @property
    def tasks(self) -> Sequence[asyncio.Task[Heard]]:
        """What is under way."""
        return list(self._busy)

    def join(self, helper: Ear) -> None:
        """One more."""
        self._idle.append(helper)

    def hear(self, job: Hear, batch: Batch) -> None:
        """Give a batch to who waits, the own engine first."""
        ear = self._idle.popleft()
        self._busy[asyncio.create_task(ear.hear(job))] = ear, batch

    def heard(self) -> Iterator[tuple[Batch, Heard | None]]:
        """The batches that came back since, null with those that were not heard (TaskError)."""
        for task in [task for task in self._busy if task.done()]:
            ear, batch = self._busy.pop(task)
            try:
                heard = task.result()
            except EarLostError:
                yield batch, None
                continue
            (self._idle.appendleft if ear is self._own else self._idle.append)(ear)
            yield batch, heard

    async def stop(self) -> None:
        """Hear nothing more."""
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
