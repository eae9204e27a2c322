"""How much faster one recording is transcribed with more cores: those of its own worker, or those of an idle worker."""

import statistics
from dataclasses import dataclass

from benchmarks.client import TimedClient
from benchmarks.memory import MIB, MemoryWatch
from benchmarks.report import Findings, Table, percent, ratio, seconds, whole
from benchmarks.service import REAL, serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import CLIPS, Spoken, speech
from tests.truth.words import word_error_rate


@dataclass(frozen=True)
class Way:
    """A way to run the service."""

    name: str
    workers: int
    settings: dict[str, object]
    one_core: bool = False


@dataclass(frozen=True)
class Measured:
    """Seconds, peak MiB and text of a way."""

    seconds: float
    memory: float
    text: str


CORE = Way("a worker that has one core", 1, {"engine_parallel": 0}, one_core=True)
ALONE = Way("one window at a time, `ENGINE_PARALLEL=1`", 1, {"share_windows": "never"})
CORES = Way("a worker that has all cores", 1, {"engine_parallel": 0})
NEVER = Way("two workers, windows are not shared", 2, {"share_windows": "never"})
AUTO = Way("two workers, shared where a core is free (default)", 2, {"share_windows": "auto"})
ALWAYS = Way("two workers, always shared", 2, {"share_windows": "always"})
WAYS = (CORE, ALONE, CORES, NEVER, AUTO, ALWAYS)


async def measure(sizes: Sizes) -> Findings:
    """Measure one recording in each way."""
    async with fresh() as stack:
        recording = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        measured = {way.name: await _measured(stack, recording, way, sizes) for way in WAYS}
    core, _, cores, never, _, always = measured.values()
    alike = len({row.text for row in measured.values()}) == 1
    table = Table(
        f"One recording of {recording.seconds / 60:.1f} minutes, alone on the machine",
        ("", "seconds", "/ one core", "peak MiB", "words wrong"),
        [
            (
                name,
                seconds(row.seconds),
                ratio(row.seconds / core.seconds),
                whole(row.memory),
                percent(word_error_rate(recording.words, row.text)),
            )
            for name, row in measured.items()
        ],
        [
            "One engine thread a window, one window at a time unless stated otherwise; the cache is off.",
            "Memory: of the workers and all their processes.",
            f"The texts are {'the same' if alike else 'not all the same'}.",
        ],
    )
    figures = {
        "shared_over_alone": always.seconds / never.seconds,
        "all_cores_over_one": cores.seconds / core.seconds,
        "all_cores_memory_over_one": cores.memory / core.memory,
    }
    return Findings([table], figures)


async def _measured(stack: Stack, recording: Spoken, way: Way, sizes: Sizes) -> Measured:
    client, times, text = TimedClient(stack.nats), [], ""
    async with serving(
        stack, REAL, workers=way.workers, changed=False, one_core=way.one_core, cache_ttl=0, **way.settings
    ) as child:
        clip, uploaded = await client.upload(CLIPS[0]), await client.upload(recording.path)
        for _ in range(4):
            await client.run(clip)
        async with MemoryWatch(child.tree) as watch:
            for number in range(sizes.rounds):
                sizes.log(f"{way.name}, round {number + 1}")
                outcome = await client.run(uploaded)
                times.append(outcome.ended)
                text = str((await client.result(outcome))["text"])
    return Measured(statistics.median(times), watch.peak / MIB, text)
