"""Time and word errors of transcription, compared with the bare engine and with a peer."""

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import TypeAlias

from benchmarks import languages
from benchmarks.by_kind import beside, table
from benchmarks.client import TimedClient
from benchmarks.kinds import Kind, chosen_kinds, where
from benchmarks.measured import BATCHED, OURS, SEQUENTIAL, Measured, Overall
from benchmarks.programs import attempt, bare_engines, wyoming
from benchmarks.report import Findings, Table, percent, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import CLIPS, Spoken, speech, words_of
from tests.truth.words import word_error_rate

WYOMING = "wyoming-faster-whisper"

Rows: TypeAlias = dict[str, tuple[float, float]]  # of each engine, seconds and word error rate for the reading


async def measure(sizes: Sizes) -> Findings:
    """Measure every kind of recording, the reading with a peer, too, then two recordings with two of each."""
    async with fresh() as stack:
        reading = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        measured = await beside(stack, [_reading(reading), *chosen_kinds(stack.folder, sizes)], sizes)
        rows = {way: (measured[0].seconds(way), measured[0].score(way).rate) for way in (BATCHED, OURS, SEQUENTIAL)}

        async def measure_wyoming() -> None:
            sizes.log(WYOMING)
            async with wyoming(stack) as program:
                await program.process(speech(stack.folder / "short.wav", 1).path)
                output = await program.process(reading.path)
                rows[WYOMING] = output.seconds, word_error_rate(reading.words, output.text)

        failures = await attempt(WYOMING, measure_wyoming) if sizes.peers else []
        parts, clips = await _ours_alone(stack, measured, sizes)
        pairs = await _side_by_side(stack, reading, sizes)
    figures = {
        "two_workers_over_two_bare": pairs[BATCHED] / pairs[OURS],
        "real_time_factor": measured[0].seconds(OURS) / reading.seconds,
        "word_error_rate_clips": clips,
        **Overall.of(measured).figures,
        **{name: value for part in parts for name, value in part.figures.items()},
    }
    tables = [table(measured, where()), *(several for part in parts for several in part.tables)]
    return Findings([*tables, _one_each(rows, failures, reading, clips), _two_each(pairs, reading)], figures)


def _reading(recording: Spoken) -> Kind:
    """Its words do not count: they would be those of one minute, several times."""
    return Kind(f"a reading, {recording.seconds / 60:.0f} minutes in a loop", (recording,), words_count=False)


async def _ours_alone(stack: Stack, measured: list[Measured], sizes: Sizes) -> tuple[list[Findings], float]:
    """The parts of recordings in several languages; words wrong in recordings that are not joined of others."""
    sizes.log("parts of recordings in several languages, and the clips")
    client = TimedClient(stack.nats)
    async with serving(stack, cache_ttl=0):
        parts = [await languages.measure(stack, row) for row in measured if row.kind.parts]
        texts = [str((await client.process(clip))[1]["text"]) for clip in CLIPS]
    return parts, word_error_rate(" ".join(map(words_of, CLIPS)), " ".join(texts))


async def _side_by_side(stack: Stack, recording: Spoken, sizes: Sizes) -> dict[str, float]:
    """Seconds until two recordings are done by two bare engines, and by two workers."""
    times: dict[str, list[float]] = {BATCHED: [], OURS: []}
    client = TimedClient(stack.nats)
    async with serving(stack, workers=2, cache_ttl=0), bare_engines(stack, "batched", count=2) as engines:
        clip, uploaded = await client.upload(CLIPS[0]), await client.upload(recording.path)
        await asyncio.gather(*(client.run(clip) for _ in range(4)))
        await asyncio.gather(*(engine.process(CLIPS[0]) for engine in engines))
        for number in range(sizes.rounds):
            sizes.log(f"two recordings at once, round {number + 1}")
            began = time.perf_counter()
            await asyncio.gather(*(engine.process(recording.path) for engine in engines))
            bare = time.perf_counter()
            await asyncio.gather(*(client.run(uploaded) for _ in engines))
            times[BATCHED].append(bare - began)
            times[OURS].append(time.perf_counter() - bare)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _one_each(rows: Rows, failures: list[str], recording: Spoken, clips: float) -> Table:
    return Table(
        f"The reading beside what others build, {recording.seconds / 60:.1f} minutes, one engine thread",
        ("", "seconds", "real-time factor", "/ batched", "/ sequential", "words wrong"),
        [
            (
                name,
                seconds(taken),
                *(ratio(taken / other) for other in (recording.seconds, rows[BATCHED][0], rows[SEQUENTIAL][0])),
                percent(errors),
            )
            for name, (taken, errors) in rows.items()
        ],
        [
            "The repository's recordings of readers, about a minute, again and again.",
            f"On the five LibriVox clips alone, {OURS} has {percent(clips)} of the words wrong.",
            *failures,
        ],
    )


def _two_each(pairs: Mapping[str, float], recording: Spoken) -> Table:
    return Table(
        f"Two recordings of {recording.seconds / 60:.1f} minutes at once",
        ("", "seconds", "bare / it"),
        [
            (f"two of: {BATCHED}", seconds(pairs[BATCHED]), ratio(1.0)),
            ("two workers of this service", seconds(pairs[OURS]), ratio(pairs[BATCHED] / pairs[OURS])),
        ],
        ["Until the later of the two is done; one engine thread each."],
    )
