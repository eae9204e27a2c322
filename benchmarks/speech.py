"""How long speech takes beside the bare engine and what others build around it, and how much is heard right."""

import asyncio
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.accuracy import word_error_rate
from benchmarks.caller import Caller
from benchmarks.peers.registry import NEW_REDIS, installed
from benchmarks.recordings import CLIPS, Spoken, speech, words_of
from benchmarks.report import Findings, Table, percent, ratio, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import MeasurementError, Stack, fresh
from benchmarks.talkers import Answer, Talker, bare_engines, taskiq, wyoming

Peer = Callable[[Stack], AbstractAsyncContextManager[Talker]]
PEERS: dict[str, Peer] = {"wyoming-faster-whisper": wyoming, "Taskiq + taskiq-nats, faster-whisper": taskiq}
OURS, BATCHED, SEQUENTIAL = "this service", "bare engine, batched", "bare engine, sequential"


@dataclass
class Row:
    """What one way of transcribing took, round by round."""

    name: str
    recording: Spoken
    times: list[float] = field(default_factory=list)
    text: str = ""
    failure: str | None = None

    def note(self, answer: Answer) -> None:
        """Keep a round."""
        self.times.append(answer.seconds)
        self.text = answer.text

    @property
    def median(self) -> float | None:
        """Seconds."""
        return statistics.median(self.times) if self.times else None

    @property
    def errors(self) -> float | None:
        """Word error rate."""
        return word_error_rate(self.recording.words, self.text) if self.times else None


async def measure(sizes: Sizes) -> Findings:
    """Measure one recording with one of each, then two recordings with two of each, then the clips."""
    async with fresh() as stack:
        recording = speech(stack.folder / "speech.wav", sizes.speech_minutes)
        rows = await _alone(stack, recording, sizes)
        pairs = await _side_by_side(stack, recording, sizes)
        clips = await _clips(stack, sizes)
    ours, batched, sequential = (_row(rows, name).median or 0.0 for name in (OURS, BATCHED, SEQUENTIAL))
    figures = {
        "service_over_bare": ours / batched,
        "service_over_sequential": ours / sequential,
        "two_workers_over_two_bare": pairs[BATCHED] / pairs[OURS],
        "real_time_factor": ours / recording.seconds,
        "word_error_rate_clips": clips,
    }
    return Findings([_one_each(rows, recording, clips), _two_each(pairs, recording)], figures)


async def _alone(stack: Stack, recording: Spoken, sizes: Sizes) -> list[Row]:
    rows = [Row(name, recording) for name in (BATCHED, OURS, SEQUENTIAL)]
    batched, ours, sequential = rows
    async with serving(stack, cache_ttl=0), bare_engines(stack, "batched") as (engine,):
        await _served(stack, CLIPS[0])
        await engine.transcribe(CLIPS[0])
        for number in range(sizes.rounds):
            sizes.tell(f"{BATCHED}, round {number + 1}")
            batched.note(await engine.transcribe(recording.path))
            sizes.tell(f"{OURS}, round {number + 1}")
            ours.note(await _served(stack, recording.path))
    sizes.tell(SEQUENTIAL)
    async with bare_engines(stack, "sequential") as (engine,):
        await engine.transcribe(CLIPS[0])
        sequential.note(await engine.transcribe(recording.path))
    return rows + [await _peer(name, peer, stack, recording, sizes) for name, peer in PEERS.items() if sizes.peers]


async def _peer(name: str, peer: Peer, stack: Stack, recording: Spoken, sizes: Sizes) -> Row:
    row = Row(name, recording)
    if not installed(NEW_REDIS):
        row.failure = "not installed here"
        return row
    sizes.tell(name)
    try:
        async with peer(stack) as talker:
            await talker.transcribe(stack.folder / "speech.wav" if sizes.speech_minutes == 1 else _short(stack))
            row.note(await talker.transcribe(recording.path))
    except (MeasurementError, TimeoutError) as error:
        row.failure = str(error) or "it did not become ready"
    return row


def _short(stack: Stack) -> Path:
    return speech(stack.folder / "short.wav", 1).path


async def _served(stack: Stack, recording: Path) -> Answer:
    """From publication to `completed`."""
    caller = Caller(stack.nats)
    outcome = await caller.run(await caller.upload(recording))
    return Answer(outcome.ended, str((await caller.result(outcome))["text"]))


async def _side_by_side(stack: Stack, recording: Spoken, sizes: Sizes) -> dict[str, float]:
    """Seconds until two recordings are done by two bare engines, and by two workers."""
    times: dict[str, list[float]] = {BATCHED: [], OURS: []}
    caller = Caller(stack.nats)
    async with serving(stack, workers=2, cache_ttl=0), bare_engines(stack, "batched", count=2) as engines:
        await asyncio.gather(*(_served(stack, CLIPS[0]) for _ in range(4)))
        await asyncio.gather(*(engine.transcribe(CLIPS[0]) for engine in engines))
        uploaded = await caller.upload(recording.path)
        for number in range(sizes.rounds):
            sizes.tell(f"two recordings at once, round {number + 1}")
            began = time.perf_counter()
            await asyncio.gather(*(engine.transcribe(recording.path) for engine in engines))
            bare = time.perf_counter()
            await asyncio.gather(*(caller.run(uploaded) for _ in engines))
            times[BATCHED].append(bare - began)
            times[OURS].append(time.perf_counter() - bare)
    return {name: statistics.median(taken) for name, taken in times.items()}


async def _clips(stack: Stack, sizes: Sizes) -> float:
    """Word error rate of the service on recordings that nobody has put together."""
    sizes.tell("the clips")
    async with serving(stack, cache_ttl=0):
        heard = [(await _served(stack, clip)).text for clip in CLIPS]
    return word_error_rate(" ".join(map(words_of, CLIPS)), " ".join(heard))


def _row(rows: list[Row], name: str) -> Row:
    return next(row for row in rows if row.name == name)


def _one_each(rows: list[Row], recording: Spoken, clips: float) -> Table:
    bare, sequential = _row(rows, BATCHED).median or 1.0, _row(rows, SEQUENTIAL).median or 1.0
    return Table(
        f"{recording.seconds / 60:.1f} minutes of speech, one engine thread",
        ("", "seconds", "real-time factor", "/ batched", "/ sequential", "words wrong"),
        [
            (
                row.name,
                seconds(row.median),
                ratio(row.median and row.median / recording.seconds),
                ratio(row.median and row.median / bare),
                ratio(row.median and row.median / sequential),
                percent(row.errors),
            )
            for row in rows
        ],
        [
            "The repository's recordings, about a minute, again and again; the same whisper-base (int8), beam 5.",
            f"{OURS}: from publication to `completed`, the recording in NATS' Object Store, the cache off.",
            f"On the five LibriVox clips alone, {OURS} has {percent(clips)} of the words wrong.",
            *(f"{row.name} was not measured: {row.failure}." for row in rows if row.failure),
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
