"""Those who speak in a chaos test: clients of live tasks that are slow, quick, vanish and come back, or are two."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import nats
import numpy as np
from nats.aio.client import Client
from natscribe.client import Client as Natscribe
from natscribe.client.errors import ClientError
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.transcription import Interval, TranscriptionResult

from app.settings import Settings
from tests.e2e.conftest import LIBRIVOX
from tests.live_client import LiveClient
from tests.truth.recordings import RATE, read, words_of
from tests.truth.words import longest_difference

FRAME_S = 0.5
PAUSE_FRAMES = 4  # behind each recording
LONGEST_AWAY_S = 20.0
IDLE_S = 60  # longer than a client is disconnected, and than a server keeps it waiting
SHORT_IDLE_S = 30  # more than a server keeps a client waiting; each worker that continues the task waits as long
MOST_WRONG = 3  # words in a row: a sentence has at least seven


@dataclass(frozen=True)
class Speech:
    """The frames of a live task, and its expected text."""

    words: str
    frames: list[bytes]
    missing: range  # frames that are never sent
    diarize: bool

    @property
    def seconds(self) -> float:
        return len(self.frames) * FRAME_S

    def wrong(self, result: TranscriptionResult) -> str | None:
        """Return what is lost or repeated in a result; None: nothing."""
        lost = [Interval(start=self.missing[0] * FRAME_S, end=self.missing.stop * FRAME_S)] if self.missing else []
        if result.duration != self.seconds:
            return f"{result.duration:g} s of {self.seconds:g}"
        if any(interval not in result.untranscribed for interval in lost):
            return f"{lost} is not told: {result.untranscribed}"
        if longest_difference(self.words, result.text) > MOST_WRONG:
            return f"{result.text!r} in place of {self.words!r}"
        if self.diarize and not (result.speakers and all(segment.speaker for segment in result.segments)):
            return f"not every word has a speaker: {result.segments}"
        return None


def speech(chance: Random) -> Speech:
    """Some recordings, one after the other; every fourth lacks a part of a pause, every third has speakers."""
    clips = chance.sample(sorted(LIBRIVOX.glob("*.flac")), chance.randint(1, 3))
    frames, pauses = list[bytes](), list[int]()
    for clip in clips:
        frames += _cut(clip)
        pauses.append(len(frames) - PAUSE_FRAMES)
    first = pauses[0] + 1
    missing = range(first, first + 2 * (chance.random() < 0.25))
    return Speech(" ".join(map(words_of, clips)), frames, missing, diarize=chance.random() < 1 / 3)


def _cut(clip: Path) -> list[bytes]:
    samples, frame = read(clip), round(FRAME_S * RATE)
    whole = np.pad(samples, (0, -len(samples) % frame + PAUSE_FRAMES * frame))
    return [whole[at : at + frame].astype("<i2").tobytes() for at in range(0, len(whole), frame)]


@dataclass(frozen=True)
class Speaker:
    """A client that sends a speech as live audio."""

    settings: Settings
    task_id: str
    speech: Speech
    chance: Random

    async def connect(self) -> Client:
        return await nats.connect(
            self.settings.nats_servers,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.2,
            ping_interval=2,
            allow_reconnect=True,
        )

    async def begin(self, client: LiveClient, *, idle_seconds: int = IDLE_S) -> None:
        """Publish the task."""
        await client.begin(idle_seconds=idle_seconds, diarize=self.speech.diarize)

    def client(self, connection: Client) -> LiveClient:
        return LiveClient(connection, self.task_id, self.speech.frames, LiveAudio())

    async def send(self, client: LiveClient, frames: Sequence[int], *, speed: float) -> None:
        """Send frames, but those that are missing; the last one of the speech ends it."""
        for number in frames:
            if number not in self.speech.missing:
                await client.send_frame(number, end=number == len(self.speech.frames) - 1)
                await asyncio.sleep(FRAME_S / speed)


async def speak_steadily(speaker: Speaker, *, speed: float = 1.0) -> None:
    """Send all frames in real time."""
    connection = await speaker.connect()
    client = speaker.client(connection)
    await speaker.begin(client)
    await speaker.send(client, range(len(speaker.speech.frames)), speed=speed)
    await connection.close()


async def speak_quickly(speaker: Speaker) -> None:
    """Send all frames at ten times real time."""
    await speak_steadily(speaker, speed=10)


async def vanish(speaker: Speaker) -> None:
    """Disconnect in the middle, reconnect, and send frames again."""
    connection = await speaker.connect()
    client, frames = speaker.client(connection), range(len(speaker.speech.frames))
    await speaker.begin(client)
    gone_at = speaker.chance.randrange(1, len(frames))
    await speaker.send(client, frames[:gone_at], speed=2)
    await connection.close()
    await asyncio.sleep(speaker.chance.uniform(0, LONGEST_AWAY_S))
    connection = await speaker.connect()
    await speaker.send(speaker.client(connection), frames[speaker.chance.randrange(gone_at) :], speed=2)
    await connection.close()


async def be_two(speaker: Speaker) -> None:
    """Send all frames from two publishers concurrently."""
    await asyncio.gather(speak_steadily(speaker, speed=1.5), speak_steadily(speaker, speed=2))


async def end_without_a_word(speaker: Speaker) -> None:
    """Send all frames, but do not say that the last one is the last."""
    connection = await speaker.connect()
    client = speaker.client(connection)
    await speaker.begin(client, idle_seconds=SHORT_IDLE_S)
    for number in range(len(speaker.speech.frames)):
        if number not in speaker.speech.missing:
            await client.send_frame(number)
    await connection.close()


SORTS: Sequence[Callable[[Speaker], Coroutine[Any, Any, None]]] = [
    speak_steadily,
    speak_quickly,
    vanish,
    be_two,
    end_without_a_word,
]


async def speak(settings: Settings, chance: Random, count: int, seconds: float) -> dict[str, Speech]:
    """Start `count` speakers over the time; return the speech of each once all have ended."""
    speeches = {f"live-{number}": speech(chance) for number in range(count)}
    async with asyncio.TaskGroup() as group:
        for number, (task_id, speech_of_task) in enumerate(speeches.items()):
            sort, own = SORTS[number % len(SORTS)], Random(chance.random())  # noqa: S311
            group.create_task(sort(Speaker(settings, task_id, speech_of_task, own)))
            await asyncio.sleep(seconds / count * chance.uniform(0.5, 1.5))
    return speeches


async def transcription_errors(client: Natscribe, speeches: dict[str, Speech]) -> dict[str, str]:
    """Return what is lost or repeated in each live task."""
    problems = dict[str, str]()
    for task_id, speech_of_task in speeches.items():
        try:
            result = await client.get_task_result(task_id)
        except ClientError as error:
            problems[task_id] = str(error)
            continue
        wrong = speech_of_task.wrong(result) if isinstance(result, TranscriptionResult) else "another kind of result"
        if wrong is not None:
            problems[task_id] = wrong
    return problems
