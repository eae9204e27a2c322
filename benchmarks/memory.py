"""Memory for recordings of different lengths, and the time to the first text of a long one."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Self

import psutil

from benchmarks.caller import Caller, Outcome
from benchmarks.report import Findings, Table, ratio, seconds, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import fresh
from tests.truth.recordings import CLIPS, talk_and_silence

LOOK_EVERY = 0.1  # seconds
MIB = 1024 * 1024
HOUR = 60  # minutes
TALK_FIRST = 10  # minutes
THEN_EVERY = 12  # minutes, one of speech: hours of it would take too long


async def measure(sizes: Sizes) -> Findings:
    """Measure each length with a new worker."""
    found = {}
    for minutes in sizes.memory_minutes:
        sizes.tell(f"a recording of {minutes} minutes")
        found[minutes] = await _transcribed(minutes)
    least = min(found)
    first = {minutes: outcome.first_segments_after_pick_up for minutes, (_, outcome) in found.items()}
    table = Table(
        "Memory by length of the recording",
        ("minutes", "peak MiB", "/ the shortest", "first text after pick-up, s", "seconds in all"),
        [
            (
                str(minutes),
                whole(peak),
                ratio(peak / found[least][0]),
                seconds(first[minutes]),
                seconds(outcome.ended),
            )
            for minutes, (peak, outcome) in found.items()
        ],
        [
            "Resident memory of the worker and all its child processes, summed, highest of ten samples a second.",
            f"The first {TALK_FIRST} minutes are speech, then one in {THEN_EVERY}: hours of it would take too long.",
            "Wav files in NATS' Object Store; each length has a worker and servers of its own.",
        ],
    )
    figures = {"memory_longest_over_shortest": found[max(found)][0] / found[least][0]}
    if HOUR in found:
        figures["first_text_of_an_hour"] = first[HOUR]
    return Findings([table], figures)


async def _transcribed(minutes: int) -> tuple[float, Outcome]:
    """Peak memory in MiB, and the times of the events."""
    async with fresh() as stack, serving(stack, cache_ttl=0) as child:
        recording = stack.folder / "recording.wav"
        talk_and_silence(recording, minutes, talk_first=TALK_FIRST, then_every=THEN_EVERY)
        caller = Caller(stack.nats)
        await caller.run(await caller.upload(CLIPS[0]))  # starts what the worker starts on first use
        name = await caller.upload(recording)
        async with MemoryWatch(child.tree) as watch:
            outcome = await caller.run(name)
        return watch.peak / MIB, outcome


class MemoryWatch:
    """Samples the memory of processes, summed."""

    def __init__(self, processes: Callable[[], Sequence[psutil.Process]]) -> None:
        self._processes = processes
        self.peak = 0  # bytes

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, sum(map(_resident, self._processes())))
            await asyncio.sleep(LOOK_EVERY)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def processor_time(processes: Sequence[psutil.Process]) -> float:
    """Return the seconds of processor time that processes have used so far."""
    return sum(map(_used, processes))


def _used(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)
