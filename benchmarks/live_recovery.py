"""Live audio whose worker is killed: how soon text comes again, and how many words differ because of the kill."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from natscribe import Client
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.settings import Settings

from benchmarks.kinds import Kind
from benchmarks.report import Table, percent, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack
from tests.truth.recordings import RATE, read
from tests.truth.words import word_error_rate

FRAME_S = 0.1
KILLED_AT = 0.5  # of the recording
LONGEST_S = 60.0  # of a recording


@dataclass(frozen=True)
class Killed:
    """A recording whose worker was killed while it was played."""

    kind: Kind
    text_after: float  # seconds from the end of the utterance that was said at the kill to its text; inf: none came
    differs: float  # words that are not as without the kill

    @property
    def row(self) -> tuple[str, ...]:
        """The row of a table."""
        return self.kind.name, seconds(self.text_after), percent(self.differs)


async def recovery(stack: Stack, kind: Kind, sizes: Sizes) -> Killed:
    """Play a recording undisturbed, then once more with `kill -9` of its worker in the middle."""
    samples = read(kind.recordings[0].path)[: round(min(sizes.live_seconds or LONGEST_S, LONGEST_S) * RATE)]
    async with (
        serving(stack, cache_ttl=0, engine_parallel=0),
        serving(stack, cache_ttl=0, engine_parallel=0),
    ):
        sizes.tell(f"{kind.name}, played undisturbed")
        undisturbed, _ = await _played(stack, samples, killed_at=None)
        sizes.tell(f"{kind.name}, its worker is killed")
        text, text_after = await _played(stack, samples, killed_at=KILLED_AT * len(samples) / RATE)
    return Killed(kind, text_after, word_error_rate(undisturbed, text))


async def _played(stack: Stack, samples: npt.NDArray[np.int16], *, killed_at: float | None) -> tuple[str, float]:
    """Return the text, and the delay of the first text with sound behind the kill."""
    texts: list[tuple[float, float]] = []  # when a text came, and where it ended in the sound
    workers: list[str] = []
    async with Client(Settings(nats_url=stack.nats_url)) as client, client.live(user_id=1) as live:
        began = time.perf_counter()

        async def listen() -> None:
            async for event in live.events():
                if isinstance(event, SegmentsEvent) and event.segments:
                    texts.append((time.perf_counter() - began, event.segments[-1].end))
                elif isinstance(event, ProgressEvent) and event.worker:
                    workers.append(event.worker)

        listening, killed = asyncio.create_task(listen()), float("inf")
        async for frame in in_real_time(samples, began):
            await live.send(frame)
            if killed_at is not None and killed == float("inf") and time.perf_counter() - began >= killed_at:
                os.kill(_pid(workers[-1]), signal.SIGKILL)
                killed = time.perf_counter() - began
        await live.end()
        text = (await live.result()).text
        await listening
    return text, delay_behind(killed, texts)


def delay_behind(killed: float, texts: Sequence[tuple[float, float]]) -> float:
    """Return how late the first text with sound behind the kill came; of each text: when it came, and where it ends."""
    return next((came - end for came, end in texts if end > killed), float("inf"))


def _pid(worker: str) -> int:
    """Return the process that a worker's name has: `<host>-<process>-<random>`."""
    return int(worker.split("-")[-2])


async def in_real_time(samples: npt.NDArray[np.int16], began: float) -> AsyncIterator[bytes]:
    """Yield frames of sound, each when its last sample was spoken; `began` is the begin on the performance counter."""
    step = round(FRAME_S * RATE)
    for number, at in enumerate(range(0, len(samples), step), start=1):
        await asyncio.sleep(began + number * FRAME_S - time.perf_counter())
        yield samples[at : at + step].astype("<i2").tobytes()


def kills(killed: Sequence[Killed]) -> Table:
    """Make the table."""
    return Table(
        "Live audio whose worker is killed",
        ("", "text again after, s", "words not as without the kill"),
        [each.row for each in killed],
        [
            "Two workers; `kill -9` of the one with the task in the middle of the recording.",
            "Text again: from the end of the utterance that was said at the kill, or next, to its text.",
        ],
    )
