"""Memory for recordings of different lengths, and the time to the first text of a long one."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Self

import psutil

from benchmarks.client import Outcome, TimedClient
from benchmarks.report import Findings, Table, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import fresh
from tests.truth.recordings import CLIPS, talk_and_silence

SAMPLE_EVERY = 0.1  # seconds
MIB = 1024 * 1024
HOUR = 60  # minutes
TALK_FIRST = 10  # minutes
THEN_EVERY = 12  # minutes, one of speech: hours of it would take too long


async def measure(sizes: Sizes) -> Findings:
    """Measure each length with a new worker."""
    measured = {}
    for minutes in sizes.memory_minutes:
        sizes.log(f"a recording of {minutes} minutes")
        measured[minutes] = await _transcribed(minutes)
    shortest = measured[min(measured)][0]
    first = {minutes: outcome.first_segments_after_pick_up for minutes, (_, outcome) in measured.items()}
    table = Table(
        "Memory by length of the recording",
        ("minutes", "peak MiB", "/ the shortest", "first text after pick-up, s", "seconds in all"),
        [
            (
                str(minutes),
                whole(peak),
                ratio(peak / shortest),
                seconds(first[minutes]),
                seconds(outcome.ended),
            )
            for minutes, (peak, outcome) in measured.items()
        ],
        [
            "Resident memory of the worker and all its child processes, summed, highest of ten samples a second.",
            f"The first {TALK_FIRST} minutes are speech, then one in {THEN_EVERY}: hours of it would take too long.",
            "Wav files in NATS' Object Store; each length has a worker and servers of its own.",
        ],
    )
    figures = {"memory_longest_over_shortest": measured[max(measured)][0] / shortest}
    if HOUR in measured:
        figures["first_text_of_an_hour"] = first[HOUR]
    return Findings([table], figures)


async def _transcribed(minutes: int) -> tuple[float, Outcome]:
    """Peak memory in MiB, and the times of the events."""
    async with fresh() as stack, serving(stack, cache_ttl=0) as child:
        recording = stack.folder / "recording.wav"
        talk_and_silence(recording, minutes, talk_first=TALK_FIRST, then_every=THEN_EVERY)
        client = TimedClient(stack.nats)
        await client.process(CLIPS[0])  # starts what the worker starts on first use
        name = await client.upload(recording)
        async with MemoryWatch(child.tree) as watch:
            outcome = await client.run(name)
        return watch.peak / MIB, outcome


class MemoryWatch:
    """Samples the memory of processes, summed."""

    def __init__(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        self._processes = processes
        self.peak = 0.0  # bytes

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            resident = sum(_existing(self._processes(), lambda process: process.memory_info().rss))
            self.peak = max(self.peak, resident)
            await asyncio.sleep(SAMPLE_EVERY)


def processor_time(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds of processor time that processes have used so far."""
    return sum(_existing(processes, lambda process: sum(process.cpu_times()[:2])))


def _existing(processes: Sequence[psutil.Process], read: Callable[[psutil.Process], float]) -> Iterator[float]:
    """Read a number of each process that still exists."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield read(process)
