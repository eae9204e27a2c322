"""Time and word errors of transcription, compared with the bare engine."""

import asyncio
import statistics
import time
from collections.abc import Mapping

from benchmarks.by_kind import beside, table
from benchmarks.client import TimedClient
from benchmarks.kinds import RecordingKind, chosen_kinds, where
from benchmarks.measured import BATCHED, OURS, Overall
from benchmarks.programs import bare_engines
from benchmarks.report import Findings, Table, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import CLIPS, Spoken, speech


async def measure(sizes: Sizes) -> Findings:
    """Measure every kind of recording, then two recordings with two of each."""
    async with fresh() as stack:
        reading = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        measured = await beside(stack, [_reading(reading), *chosen_kinds(stack.folder, sizes)], sizes)
        pairs = await _side_by_side(stack, reading, sizes)
    figures = {
        "two_workers_over_two_bare": pairs[BATCHED] / pairs[OURS],
        "real_time_factor": measured[0].seconds(OURS) / reading.seconds,
        **Overall(measured).figures,
    }
    return Findings([table(measured, where()), _two_each(pairs, reading)], figures)


def _reading(recording: Spoken) -> RecordingKind:
    """Its words do not count: they would be those of one minute, several times."""
    return RecordingKind(f"a reading, {recording.seconds / 60:.0f} minutes in a loop", (recording,), words_count=False)


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
