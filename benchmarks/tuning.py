"""Gain and cost of each setting of the engine, one at a time: the reason for the defaults."""

import asyncio
import time
from dataclasses import dataclass, replace

from benchmarks.bare import BATCH, BEAM
from benchmarks.memory import MIB
from benchmarks.report import Findings, Table, percent, ratio, seconds, whole
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from benchmarks.talkers import bare_engines
from tests.truth.recordings import CLIPS, Spoken, speech
from tests.truth.words import word_error_rate


@dataclass(frozen=True)
class Choice:
    """One way to run the engine."""

    batch: int = BATCH
    beam: int = BEAM
    threads: int = 1
    processes: int = 1

    def __str__(self) -> str:
        """For the table."""
        process = "1 process" if self.processes == 1 else f"{self.processes} processes"
        thread = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{process}, {thread}, beam {self.beam}, {self.batch} windows"


@dataclass(frozen=True)
class Found:
    """What a choice took: seconds until all its processes were done, each with one recording; bytes of one process."""

    choice: Choice
    seconds: float
    errors: float
    memory: int

    @property
    def per_recording(self) -> float:
        """Seconds that the machine was busy for a recording."""
        return self.seconds / self.choice.processes


USUAL = Choice()
CHOICES = (
    USUAL,
    replace(USUAL, beam=1),
    replace(USUAL, beam=2),
    replace(USUAL, batch=1),
    replace(USUAL, batch=8),
    replace(USUAL, threads=2),
    replace(USUAL, processes=2),
)


async def measure(sizes: Sizes) -> Findings:
    """Measure every choice with the bare batched engine."""
    async with fresh() as stack:
        recording = speech(stack.folder / "speech.wav", sizes.tuning_minutes)
        found = []
        for choice in CHOICES:
            sizes.tell(str(choice))
            found.append(await _measured(stack, recording, choice))
    usual = found[0].per_recording
    table = Table(
        f"The batched engine's settings, {recording.seconds / 60:.1f} minutes of speech",
        ("", "seconds a recording", "/ default", "words wrong", "MiB a process"),
        [
            (
                str(each.choice),
                seconds(each.per_recording),
                ratio(each.per_recording / usual),
                percent(each.errors),
                whole(each.memory / MIB),
            )
            for each in found
        ],
        [
            "The first line is the default. Two processes have a recording each: half the time until both are done.",
            "A worker is a process; its windows at once bound how soon a cancel or a stop takes effect, too.",
        ],
    )
    return Findings([table])


async def _measured(stack: Stack, recording: Spoken, choice: Choice) -> Found:
    options = (f"--batch={choice.batch}", f"--beam={choice.beam}", f"--threads={choice.threads}")
    async with bare_engines(stack, "batched", *options, count=choice.processes, threads=choice.threads) as engines:
        await asyncio.gather(*(engine.transcribe(CLIPS[0]) for engine in engines))
        began = time.perf_counter()
        answers = await asyncio.gather(*(engine.transcribe(recording.path) for engine in engines))
        taken = time.perf_counter() - began
    errors = word_error_rate(recording.words, answers[0].text)
    return Found(choice, taken, errors, max(answer.memory for answer in answers))
