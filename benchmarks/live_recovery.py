"""Live audio whose worker is killed: how soon text comes again, and how many words differ because of the kill."""

import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent

from benchmarks.kinds import RecordingKind
from benchmarks.playback import play
from benchmarks.report import Table, percent, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack
from tests.truth.recordings import RATE, Samples, read
from tests.truth.words import word_error_rate

KILLED_AT = 0.5  # of the recording
LONGEST_S = 60.0  # of a recording


@dataclass(frozen=True)
class Killed:
    """A recording whose worker was killed while it was played."""

    kind: RecordingKind
    text_after: float  # seconds from the end of the utterance that was spoken at the kill to its text; inf: none came
    differs: float  # words that are not as without the kill


async def recovery(stack: Stack, kind: RecordingKind, sizes: Sizes) -> Killed:
    """Play a recording undisturbed, then once more with `kill -9` of its worker in the middle."""
    samples = read(kind.recordings[0].path)[: round(min(sizes.live_seconds or LONGEST_S, LONGEST_S) * RATE)]
    async with (
        serving(stack, cache_ttl=0, engine_parallel=0),
        serving(stack, cache_ttl=0, engine_parallel=0),
    ):
        sizes.log(f"{kind.name}, played undisturbed")
        undisturbed, _ = await _played(stack, samples, kill_at=None)
        sizes.log(f"{kind.name}, its worker is killed")
        text, text_after = await _played(stack, samples, kill_at=KILLED_AT * len(samples) / RATE)
    return Killed(kind, text_after, word_error_rate(undisturbed, text))


async def _played(stack: Stack, samples: Samples, *, kill_at: float | None) -> tuple[str, float]:
    """Return the text, and the delay of the first text that reaches beyond the kill."""
    texts: list[tuple[float, float]] = []  # when a text came, and where it ended in the audio
    workers: list[str] = []
    killed = float("inf")

    async def follow(events: AsyncIterator[object], began: float) -> None:
        async for event in events:
            if isinstance(event, SegmentsEvent) and event.segments:
                texts.append((time.perf_counter() - began, event.segments[-1].end))
            elif isinstance(event, ProgressEvent) and event.worker:
                workers.append(event.worker)

    def kill(played: float) -> None:
        nonlocal killed
        if kill_at is not None and killed == float("inf") and played >= kill_at:
            os.kill(_pid(workers[-1]), signal.SIGKILL)
            killed = played

    text = await play(stack.nats_url, samples, follow, after_frame=kill)
    return text, delay_behind(killed, texts)


def delay_behind(killed: float, texts: Sequence[tuple[float, float]]) -> float:
    """Return how late the first text came that ends after the kill; of each text: when it came, and where it ends."""
    return next((arrived - end for arrived, end in texts if end > killed), float("inf"))


def _pid(worker: str) -> int:
    """Return the process in a worker's name, `<host>-<process>-<random>`."""
    return int(worker.split("-")[-2])


def kills(killed: Sequence[Killed]) -> Table:
    """Make the table."""
    return Table(
        "Live audio whose worker is killed",
        ("", "text again after, s", "words not as without the kill"),
        [(row.kind.name, seconds(row.text_after), percent(row.differs)) for row in killed],
        [
            "Two workers; `kill -9` of the one with the task in the middle of the recording.",
            "Text again: from the end of the utterance that was spoken at the kill, or next, to its text.",
        ],
    )
