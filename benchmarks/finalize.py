"""Live audio in which people stop and wait for an answer: how soon their text is final, on request and without."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from natscribe import Client, Live
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.settings import Settings

from app.engines.audio.speech_detector import SpeechDetector
from app.engines.audio.windows import FRAME, FRAMES_PER_SECOND, SPEECH
from benchmarks.kinds import RecordingKind, folder, kinds_in
from benchmarks.playback import FRAME_S, in_real_time
from benchmarks.programs import bare_engines
from benchmarks.report import NOT_MEASURED, Findings, Table, percent, quantile, seconds
from benchmarks.service import serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import RATE, Samples, Spoken, read
from tests.truth.words import Score, scored

ANSWER_S = 1.5  # of silence after each message
CLIENT_PAUSE_S = 0.2  # of silence after which a client requests the text
ENDPOINT_S = 0.5  # of silence after which a program with the bare engine transcribes a message
NEAR_S = 0.5  # a text that ends so soon before the end of speech has the last word
STAGGER_S = 0.37  # between the starts of streams
ON_REQUEST, AFTER_PAUSE, BARE = "on request", "after the pause", "faster-whisper after 0.5 s of silence"


@dataclass(frozen=True)
class Messages:
    """Messages with silence after each: the samples, where each one's speech ends (seconds), and what is spoken."""

    samples: Samples
    ends: Sequence[float]
    words: str


@dataclass
class Heard:
    """The delays of final texts from the end of speech and from the request, in seconds; and the errors in the text."""

    from_speech: list[float] = field(default_factory=list)
    from_request: list[float] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)

    def add(self, other: "Heard") -> None:
        """Add the delays and errors of another stream."""
        self.from_speech += other.from_speech
        self.from_request += other.from_request
        self.scores += other.scores


async def measure(sizes: Sizes) -> Findings:
    """Play messages with and without requests for their text, one stream and several; then time the bare engine."""
    async with fresh() as stack:
        kinds = [kind for kind in kinds_in(folder(), stack.folder) if "messages" in kind.name and not kind.calls]
        rows = dict[tuple[int, str], Heard]()
        for count in sizes.finalize_streams:
            for way in (AFTER_PAUSE, ON_REQUEST):
                sizes.log(f"{count} streams, {way}")
                rows[count, way] = await _streams(stack, kinds, count, sizes, requests=way == ON_REQUEST)
        sizes.log(BARE)
        rows[1, BARE] = await _bare(stack, kinds, sizes)
    first, last = sizes.finalize_streams[0], sizes.finalize_streams[-1]
    alone, without, most = rows[first, ON_REQUEST], rows[first, AFTER_PAUSE], rows[last, ON_REQUEST]
    figures = {
        "finalize_p50": quantile(alone.from_request, 0.5),
        "finalize_p95": quantile(alone.from_request, 0.95),
        "finalize_p95_of_most": quantile(most.from_request, 0.95),
        "finalize_errors": Score.pooled(alone.scores).rate,
        "finalize_errors_without": Score.pooled(without.scores).rate,
    }
    return Findings([_table(rows)], figures)


async def _streams(stack: Stack, kinds: Sequence[RecordingKind], count: int, sizes: Sizes, *, requests: bool) -> Heard:
    """Play this number of streams at once; a single one plays the messages of one kind after those of the other."""
    async with serving(stack, cache_ttl=0, engine_parallel=0, live_streams=count):
        if count == 1:
            heard = [
                await _play(stack, messages_of(kind, sizes.finalize_messages), requests=requests) for kind in kinds
            ]
        else:
            chosen = [kinds[number % len(kinds)] for number in range(count)]
            streams = [
                _play(
                    stack,
                    messages_of(kind, sizes.finalize_messages // 2, seed),
                    requests=requests,
                    delay=seed * STAGGER_S,
                )
                for seed, kind in enumerate(chosen)
            ]
            heard = await asyncio.gather(*streams)
    together = Heard()
    for one in heard:
        together.add(one)
    return together


def messages_of(kind: RecordingKind, count: int, seed: int = 0) -> Messages:
    """Join this number of recordings of a kind, chosen by the seed, with silence after each."""
    silence, position = np.zeros(round(ANSWER_S * RATE), np.int16), 0.0
    recordings, parts, ends = _chosen(kind, count, seed), list[Samples](), list[float]()
    for recording in recordings:
        samples = read(recording.path)
        ends.append(position + end_of_speech(samples))
        parts += [samples, silence]
        position += (len(samples) + len(silence)) / RATE
    return Messages(np.concatenate(parts), ends, " ".join(recording.words for recording in recordings))


def _chosen(kind: RecordingKind, count: int, seed: int) -> list[Spoken]:
    ordered = sorted(kind.recordings, key=lambda recording: recording.path.stem)
    return Random(seed).sample(ordered, min(count, len(ordered)))  # noqa: S311 -- no secret


def end_of_speech(samples: Samples) -> float:
    """Return the end of the last frame in which the voice detector finds speech, in seconds."""
    padded = np.pad(samples, (0, -len(samples) % FRAME)).astype(np.float32) / np.float32(2**15)
    return float(np.flatnonzero(SpeechDetector()(padded) >= SPEECH)[-1] + 1) / FRAMES_PER_SECOND


async def _play(stack: Stack, messages: Messages, *, requests: bool, delay: float = 0.0) -> Heard:
    """Play the messages in real time as a live task; request the text after each one, or wait for it."""
    await asyncio.sleep(delay)
    heard = Heard()
    async with Client(Settings(nats_url=stack.nats_url)) as client, client.live(user_id=1) as live:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(_follow(live, began))
            due = iter(messages.ends if requests else ())
            end = next(due, None)
            async for number, frame in _numbered(in_real_time(messages.samples, began)):
                await live.send(frame)
                if end is not None and number * FRAME_S >= end + CLIENT_PAUSE_S:
                    tasks.create_task(_request(live, heard, end, began))
                    end = next(due, None)
            await live.end()
            heard.scores.append(scored([messages.words], [(await live.result()).text]))
    if not requests:
        heard.from_speech += delays(messages.ends, following.result())
    return heard


async def _numbered(frames: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    async for frame in frames:
        number += 1
        yield number, frame


async def _request(live: Live, heard: Heard, end: float, began: float) -> None:
    requested = time.perf_counter()
    await live.finalize()
    heard.from_request.append(time.perf_counter() - requested)
    heard.from_speech.append(time.perf_counter() - began - end)


async def _follow(live: Live, began: float) -> list[tuple[float, float]]:
    """Return when each text came, and where it ends in the audio."""
    return [
        (time.perf_counter() - began, event.segments[-1].end)
        async for event in live.events()
        if isinstance(event, SegmentsEvent) and event.segments
    ]


def delays(ends: Sequence[float], texts: Sequence[tuple[float, float]]) -> list[float]:
    """Return how late the text of each end of speech came; of each text: when it came, and where it ends."""
    return [next((arrived - end for arrived, last in texts if last >= end - NEAR_S), float("inf")) for end in ends]


async def _bare(stack: Stack, kinds: Sequence[RecordingKind], sizes: Sizes) -> Heard:
    """Transcribe each message alone, as a program does that waits for a fixed silence."""
    heard = Heard()
    async with bare_engines(stack, "sequential") as (engine,):
        for kind in kinds:
            recordings = _chosen(kind, sizes.finalize_messages, 0)
            outputs = [await engine.process(recording.path) for recording in recordings]
            heard.from_speech += [ENDPOINT_S + output.seconds for output in outputs]
            texts = " ".join(output.text for output in outputs)
            heard.scores.append(scored([" ".join(recording.words for recording in recordings)], [texts]))
    return heard


def _table(rows: dict[tuple[int, str], Heard]) -> Table:
    return Table(
        "Live audio: seconds from the end of speech to its final text",
        ("streams at once", "text", "p50", "p95", "worst", "from the request p50", "p95", "words wrong"),
        [
            (
                *(str(count), way),
                *(seconds(quantile(heard.from_speech, share)) for share in (0.5, 0.95, 1.0)),
                *(_of_request(heard, share) for share in (0.5, 0.95)),
                percent(Score.pooled(heard.scores).rate),
            )
            for (count, way), heard in rows.items()
        ],
        [
            f"Short messages in English and Russian, with {ANSWER_S:g} s of silence after each.",
            "End of speech: as the voice detector finds it in the message.",
            f"On request: the client requests the text after {CLIENT_PAUSE_S:g} s of silence (`finalize`).",
            f"faster-whisper: {ENDPOINT_S:g} s and the time in which it transcribes the message, one engine thread.",
            "Hosted services, as pipecat-ai/stt-benchmark publishes: Deepgram 0.25 s, Speechmatics 0.50 s.",
        ],
    )


def _of_request(heard: Heard, share: float) -> str:
    return seconds(quantile(heard.from_request, share)) if heard.from_request else NOT_MEASURED
