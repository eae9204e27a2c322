"""How much faster one recording is done with more cores: those of its own worker, or those of an idle worker."""

import statistics
from dataclasses import dataclass

from benchmarks.caller import Caller
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
class Found:
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


async def measure(sizes: Sizes) -> Findings:
    """Measure one recording in each way."""
    async with fresh() as stack:
        recording = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        found = {
            way.name: await _measured(stack, recording, way, sizes) for way in (CORE, ALONE, CORES, NEVER, AUTO, ALWAYS)
        }
    alone = found[CORE.name]
    table = Table(
        f"One recording of {recording.seconds / 60:.1f} minutes, alone on the machine",
        ("", "seconds", "/ one core", "peak MiB", "words wrong"),
        [
            (
                name,
                seconds(each.seconds),
                ratio(each.seconds / alone.seconds),
                whole(each.memory),
                percent(word_error_rate(recording.words, each.text)),
            )
            for name, each in found.items()
        ],
        [
            "One engine thread a window, one window at a time where nothing else is said; the cache is off.",
            "Memory: of the workers and all their processes.",
            f"The texts are {_alike(found)}.",
        ],
    )
    figures = {
        "shared_over_alone": found[ALWAYS.name].seconds / found[NEVER.name].seconds,
        "all_cores_over_one": found[CORES.name].seconds / alone.seconds,
        "all_cores_over_one_window_at_a_time": found[CORES.name].seconds / found[ALONE.name].seconds,
        "all_cores_memory_over_one": found[CORES.name].memory / alone.memory,
    }
    return Findings([table], figures)


async def _measured(stack: Stack, recording: Spoken, way: Way, sizes: Sizes) -> Found:
    caller, times, text = Caller(stack.nats), [], ""
    async with serving(
        stack, REAL, workers=way.workers, paused=False, one_core=way.one_core, cache_ttl=0, **way.settings
    ) as child:
        clip, uploaded = await caller.upload(CLIPS[0]), await caller.upload(recording.path)
        for _ in range(4):
            await caller.run(clip)
        async with MemoryWatch(child.tree) as watch:
            for number in range(sizes.rounds):
                sizes.tell(f"{way.name}, round {number + 1}")
                outcome = await caller.run(uploaded)
                times.append(outcome.ended)
                text = str((await caller.result(outcome))["text"])
    return Found(statistics.median(times), watch.peak / MIB, text)


def _alike(found: dict[str, Found]) -> str:
    return "the same" if len({each.text for each in found.values()}) == 1 else "not all the same"
