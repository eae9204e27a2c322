"""Time and word errors of transcription, compared with the bare engine and with a peer."""

import asyncio
import statistics
import time
from dataclasses import dataclass

from benchmarks import languages
from benchmarks.by_kind import beside, table
from benchmarks.caller import Caller
from benchmarks.kinds import REPOSITORY, Kind, folder, kinds_in
from benchmarks.measured import BATCHED, OURS, SEQUENTIAL, Measured, Overall
from benchmarks.peers.environment import installed
from benchmarks.report import Findings, Table, percent, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import MeasurementError, Stack, fresh
from benchmarks.talkers import bare_engines, wyoming
from tests.truth.recordings import CLIPS, Spoken, speech, words_of
from tests.truth.words import word_error_rate

WYOMING = "wyoming-faster-whisper"


@dataclass
class Row:
    """Time and word errors of one way to transcribe the reading."""

    name: str
    seconds: float | None = None
    errors: float | None = None
    failure: str | None = None


async def measure(sizes: Sizes) -> Findings:
    """Measure every kind of recording, the reading with a peer, too, then two recordings with two of each."""
    async with fresh() as stack:
        reading = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        measured = await beside(stack, [_reading(reading), *_kinds(stack, sizes)], sizes)
        peers = [await _wyoming(stack, reading, sizes)] if sizes.peers else []
        parts, clips = await _ours_alone(stack, measured, sizes)
        pairs = await _side_by_side(stack, reading, sizes)
    figures = {
        "two_workers_over_two_bare": pairs[BATCHED] / pairs[OURS],
        "real_time_factor": measured[0].seconds(OURS) / reading.seconds,
        "word_error_rate_clips": clips,
    }
    for found in (Overall.of(measured).figures, *(part.figures for part in parts)):
        figures.update(found)
    tables = [table(measured, _where()), *(shown for part in parts for shown in part.tables)]
    return Findings([*tables, _one_each(measured[0], peers, reading, clips), _two_each(pairs, reading)], figures)


def _reading(recording: Spoken) -> Kind:
    """Its words do not count: they would be those of one minute, several times."""
    return Kind(f"a reading, {recording.seconds / 60:.0f} minutes in a loop", (recording,), words_count=False)


def _kinds(stack: Stack, sizes: Sizes) -> list[Kind]:
    found = kinds_in(folder(), stack.folder)
    return [kind for kind in found if sizes.kinds is None or kind.name in sizes.kinds]


def _where() -> str:
    own = folder().resolve() == REPOSITORY
    return "the repository's own" if own else "a larger set than the repository's, laid out alike"


async def _wyoming(stack: Stack, recording: Spoken, sizes: Sizes) -> Row:
    if not installed():
        return Row(WYOMING, failure="not installed here")
    sizes.tell(WYOMING)
    try:
        async with wyoming(stack) as talker:
            await talker.transcribe(speech(stack.folder / "short.wav", 1).path)
            answer = await talker.transcribe(recording.path)
    except (MeasurementError, TimeoutError) as error:
        return Row(WYOMING, failure=str(error) or "it did not become ready")
    return Row(WYOMING, answer.seconds, word_error_rate(recording.words, answer.text))


async def _ours_alone(stack: Stack, measured: list[Measured], sizes: Sizes) -> tuple[list[Findings], float]:
    """The parts of recordings in several languages; words wrong in recordings that nobody has put together."""
    sizes.tell("parts of recordings in several languages, and the clips")
    caller = Caller(stack.nats)
    async with serving(stack, cache_ttl=0):
        parts = [await languages.measure(stack, each) for each in measured if each.kind.parts]
        outcomes = [await caller.run(await caller.upload(clip)) for clip in CLIPS]
        heard = [str((await caller.result(outcome))["text"]) for outcome in outcomes]
    return parts, word_error_rate(" ".join(map(words_of, CLIPS)), " ".join(heard))


async def _side_by_side(stack: Stack, recording: Spoken, sizes: Sizes) -> dict[str, float]:
    """Seconds until two recordings are done by two bare engines, and by two workers."""
    times: dict[str, list[float]] = {BATCHED: [], OURS: []}
    caller = Caller(stack.nats)
    async with serving(stack, workers=2, cache_ttl=0), bare_engines(stack, "batched", count=2) as engines:
        clip, uploaded = await caller.upload(CLIPS[0]), await caller.upload(recording.path)
        await asyncio.gather(*(caller.run(clip) for _ in range(4)))
        await asyncio.gather(*(engine.transcribe(CLIPS[0]) for engine in engines))
        for number in range(sizes.rounds):
            sizes.tell(f"two recordings at once, round {number + 1}")
            began = time.perf_counter()
            await asyncio.gather(*(engine.transcribe(recording.path) for engine in engines))
            bare = time.perf_counter()
            await asyncio.gather(*(caller.run(uploaded) for _ in engines))
            times[BATCHED].append(bare - began)
            times[OURS].append(time.perf_counter() - bare)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _one_each(reading: Measured, peers: list[Row], recording: Spoken, clips: float) -> Table:
    ways = [Row(way, reading.seconds(way), reading.score(way).rate) for way in (BATCHED, OURS, SEQUENTIAL)]
    bare, sequential = reading.seconds(BATCHED), reading.seconds(SEQUENTIAL)
    return Table(
        f"The reading beside what others build, {recording.seconds / 60:.1f} minutes, one engine thread",
        ("", "seconds", "real-time factor", "/ batched", "/ sequential", "words wrong"),
        [
            (
                row.name,
                seconds(row.seconds),
                ratio(row.seconds and row.seconds / recording.seconds),
                ratio(row.seconds and row.seconds / bare),
                ratio(row.seconds and row.seconds / sequential),
                percent(row.errors),
            )
            for row in [*ways, *peers]
        ],
        [
            "The repository's recordings of readers, about a minute, again and again.",
            f"On the five LibriVox clips alone, {OURS} has {percent(clips)} of the words wrong.",
            *(f"{row.name} was not measured: {row.failure}." for row in peers if row.failure),
        ],
    )


def _two_each(pairs: dict[str, float], recording: Spoken) -> Table:
    return Table(
        f"Two recordings of {recording.seconds / 60:.1f} minutes at once",
        ("", "seconds", "bare / it"),
        [
            (f"two of: {BATCHED}", seconds(pairs[BATCHED]), ratio(1.0)),
            ("two workers of this service", seconds(pairs[OURS]), ratio(pairs[BATCHED] / pairs[OURS])),
        ],
        ["Until the later of the two is done; one engine thread each."],
    )
