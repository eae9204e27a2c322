"""How far the times of words are from where announcers speak, in silence and noise, compared with the bare engine."""

import json
import random
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from benchmarks import kinds
from benchmarks.client import TimedClient
from benchmarks.measured import BATCHED, OURS, SEQUENTIAL
from benchmarks.programs import bare_engines
from benchmarks.report import Findings, Table, quantile, whole
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from benchmarks.word_conditions import conditions
from tests.truth.recordings import write
from tests.truth.word_times import Joined, Word, clips_of, errors, joined

Errors = Mapping[str, Mapping[str, list[float]]]  # seconds, by condition and language
Transcribe = Callable[[Path], Awaitable[list[Word]]]

WAYS = {BATCHED: "batched", SEQUENTIAL: "sequential"}
PAUSES = {"prompts": (0.25, 0.8), "words": (0.08, 0.25)}  # seconds between the clips of such recordings
NOTES = (
    "Milliseconds by which words next to a pause start or end too early or too late; last, the mean of each language.",
    "The recordings: {where}. Sentences have pauses of 0.25 to 0.8 s between them, and single words 0.08 to 0.25 s.",
    "True times: the first and the last 10 ms within 35 dB of the loudest, of each clip before anything was added.",
    "Counted are words that were recognized. No language is given.",
    "Telephone: 300 to 3400 Hz, mu-law, hum 25 dB and noise 35 dB below the voice. Noise: pink.",
)


class _Segment(TypedDict):
    words: list[dict[str, float | str]]


@dataclass(frozen=True)
class Recording:
    """A recording in one condition, and when its words are spoken."""

    condition: str
    language: str
    path: Path
    joined: Joined


async def measure(sizes: Sizes) -> Findings:
    """Measure the service, and the bare engine in both ways, on the same recordings."""
    async with fresh() as stack:
        recordings = _recordings(stack.folder, sizes)
        found: dict[str, Errors] = {}
        async with _service(stack) as transcribe:
            found[OURS] = await _measured(OURS, transcribe, recordings, sizes)
        for name, way in WAYS.items() if sizes.peers else ():
            async with _bare(stack, way) as transcribe:
                found[name] = await _measured(name, transcribe, recordings, sizes)
    return Findings([_table(found)], _figures(found[OURS]))


def _recordings(scratch: Path, sizes: Sizes) -> list[Recording]:
    folder = kinds.folder()
    paths = sorted(path for kind in PAUSES for path in folder.glob(f"{kind}-*.flac"))
    music = sorted(folder.glob("music*.flac"))
    return [
        recording
        for path in paths[: sizes.word_recordings]
        for recording in _in_each_condition(path, music, scratch, sizes.word_seconds)
    ]


def _in_each_condition(path: Path, music: Sequence[Path], scratch: Path, seconds: float) -> list[Recording]:
    kind, _, language = path.stem.partition("-")
    chosen = random.Random(path.stem)  # noqa: S311 -- the same pauses in each run
    clips = clips_of(path)
    pauses = [0.5, *(chosen.uniform(*PAUSES[kind]) for _ in clips[1:])]
    whole_clips = joined(clips, pauses)
    count = max(1, sum(end <= seconds for _, end, _ in whole_clips.said))
    spoken = joined(clips[:count], pauses[:count])
    samples = spoken.samples.astype(np.float32) / np.float32(32768)
    recordings = []
    for condition, changed in conditions(samples, music).items():
        file = scratch / f"{path.stem} {condition}.wav".replace(" ", "-")
        write(file, [(np.clip(changed / max(1.0, float(np.abs(changed).max())), -1, 1) * 32767).astype(np.int16)])
        recordings.append(Recording(condition, language, file, spoken))
    return recordings


@asynccontextmanager
async def _service(stack: Stack) -> AsyncIterator[Transcribe]:
    client = TimedClient(stack.nats)

    async def transcribe(path: Path) -> list[Word]:
        _, result = await client.process(path, word_timestamps=True)
        words = [word for segment in cast("list[_Segment]", result["segments"]) for word in segment["words"]]
        return [(float(word["start"]), float(word["end"]), str(word["word"])) for word in words]

    async with serving(stack, cache_ttl=0):
        yield transcribe


@asynccontextmanager
async def _bare(stack: Stack, way: str) -> AsyncIterator[Transcribe]:
    async with bare_engines(stack, way, "--words") as (engine,):

        async def transcribe(path: Path) -> list[Word]:
            return [(start, end, word) for start, end, word in json.loads((await engine.process(path)).text)]

        yield transcribe


async def _measured(engine: str, transcribe: Transcribe, recordings: Sequence[Recording], sizes: Sizes) -> Errors:
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for recording in recordings:
        sizes.log(f"{engine}: {recording.path.stem}")
        off = errors(recording.joined.said, await transcribe(recording.path))
        found[recording.condition][recording.language] += map(abs, off)
    return found


def _table(found: Mapping[str, Errors]) -> Table:
    languages = sorted({language for by_language in found[OURS].values() for language in by_language})
    rows = [
        (f"{condition}: {engine}", *_row(errors[condition], languages))
        for condition in found[OURS]
        for engine, errors in found.items()
    ]
    columns = ("", "n", "mean", "median", "p95", *languages)
    return Table("Times of words, errors in ms", columns, rows, [note.format(where=kinds.where()) for note in NOTES])


def _row(by_language: Mapping[str, list[float]], languages: Sequence[str]) -> tuple[str, ...]:
    every = _all(by_language)
    means = [_ms(_mean(by_language[language])) for language in languages]
    return (whole(len(every)), _ms(_mean(every)), _ms(_quantile(every, 0.5)), _ms(_quantile(every, 0.95)), *means)


def _figures(found: Errors) -> dict[str, float]:
    clean = _all(found["clean"])
    figures = {
        "word_times_mean_ms": _mean(clean),
        "word_times_p95_ms": _quantile(clean, 0.95),
        "word_times_worst_mean_ms": max(_mean(_all(by_language)) or 0.0 for by_language in found.values()),
    }
    return {name: 1000 * value for name, value in figures.items() if value is not None}


def _all(by_language: Mapping[str, list[float]]) -> list[float]:
    return [error for errors in by_language.values() for error in errors]


def _mean(errors: Sequence[float]) -> float | None:
    return statistics.fmean(errors) if errors else None


def _quantile(errors: Sequence[float], part: float) -> float | None:
    return quantile(errors, part) if errors else None


def _ms(seconds: float | None) -> str:
    return whole(None if seconds is None else 1000 * seconds)
