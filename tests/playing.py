"""Audio that is played to a live task, and what its client receives meanwhile."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from natscribe.client import Live
from natscribe.schemas.live import Partial, SpeakersEvent, TurnEvent
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent

from tests.truth.recordings import RATE, Samples, read
from tests.waiting import eventually

FRAME_S = 0.1
Event = ProgressEvent | SegmentsEvent | SpeakersEvent | Partial | TurnEvent


def joined(clips: Sequence[Path], pause: float = 1.0) -> Samples:
    """Recordings one after the other, each with a pause behind it, in seconds."""
    silence = np.zeros(round(pause * RATE), np.int16)
    return np.concatenate([part for clip in clips for part in (read(clip), silence)])


async def play(live: Live, samples: Samples, *, speed: float = 1.0) -> None:
    """Send audio in real time, or `speed` times as fast, and end it."""
    began, frame = time.monotonic(), round(FRAME_S * RATE)
    for number, at in enumerate(range(0, len(samples), frame), start=1):
        await asyncio.sleep(began + number * FRAME_S / speed - time.monotonic())
        await live.send(samples[at : at + frame].astype("<i2").tobytes())
    await live.end()


@dataclass
class Seen:
    """The events of a live task, each with the time when it came, on the monotonic clock."""

    events: list[tuple[float, Event]] = field(default_factory=list)

    async def follow(self, live: Live) -> None:
        """Note the events until the task ends."""
        async for event in live:
            self.events.append((time.monotonic(), event))

    async def until(self, matches: Callable[[Event], bool], *, after: float = 0.0, within: float = 60.0) -> float:
        """Wait for an event that came after this time; return when it came."""

        async def time_of_match() -> float | None:
            return next((at for at, event in self.events if at > after and matches(event)), None)

        return await eventually(time_of_match, within=within)


def is_text(event: Event) -> bool:
    """Whether an event has words, for good or for now."""
    return isinstance(event, Partial) or (isinstance(event, SegmentsEvent) and bool(event.segments))


def is_final(event: Event) -> bool:
    """Whether an event has words for good."""
    return isinstance(event, SegmentsEvent) and bool(event.segments)


def is_text_behind(second: float) -> Callable[[Event], bool]:
    """Return whether an event has words after this second."""

    def is_behind(event: Event) -> bool:
        if isinstance(event, SegmentsEvent):
            return any(segment.end > second for segment in event.segments)
        return isinstance(event, Partial) and event.end > second

    return is_behind
