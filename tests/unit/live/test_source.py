"""The source of a live run: how it has the sound of a client heard."""

from base64 import b64decode
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import cast

import pytest
from natscribe.schemas.live import Codec, LiveAudio, LiveTask
from natscribe.schemas.sharing import Window

from app.engines.audio.limits import Limit
from app.engines.audio.live_streams import LiveStreams
from app.engines.engine import Engine
from app.engines.messages import Forget, Hear, Heard, StageAdvanced
from app.live.frames import Frames, Sound
from app.live.source import LiveSource
from app.updates import Checkpoint
from tests.unit.engines.opus_files import RATE, hum, recorded

OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=RATE)


class Stored(Frames):
    """A client that has stored this sound already."""

    def __init__(self, *sounds: Sound) -> None:
        self._sounds = sounds
        self._after = self.count = self.size = 0

    async def read(self, *_: object, **__: object) -> AsyncGenerator[Sound, None]:
        for sound in self._sounds:
            yield sound


class Ears:
    """The engine, which only hears; it remembers how many bytes each job has."""

    def __init__(self) -> None:
        self._streams = LiveStreams(Limit(10_000, "AUDIO_MAX_SECONDS"))
        self.bytes: list[int] = []

    async def run(self, job: Hear | Forget) -> AsyncGenerator[Heard, None]:
        if isinstance(job, Hear):
            self.bytes.append(len(b64decode(job.sound)))
        yield self._streams.run(job)


@pytest.fixture
def ears() -> Ears:
    return Ears()


def source(ears: Ears, audio: LiveAudio, *sounds: Sound) -> LiveSource:
    task = LiveTask(task_id="live-1", user_id=7, audio=audio)
    return LiveSource(cast("Engine", ears), Stored(*sounds), task, Checkpoint())


async def test_dense_opus_is_heard_in_steps(ears: Ears) -> None:
    # Given twelve minutes of Opus with six kilobits a second, which a client has sent at once
    file = recorded("ogg", hum(720), bit_rate=6000)
    assert len(file) < 1024 * 1024
    heard = source(ears, OPUS, Sound(file, frames=4, last=True))
    # When it is heard
    progress = [each async for each in heard.windows() if isinstance(each, StageAdvanced)]
    # Then it is heard whole, in jobs of at most a minute
    assert heard.seconds == pytest.approx(720, abs=0.1)
    assert max(b.processed_seconds - a.processed_seconds for a, b in pairwise(progress)) < 60


async def test_a_silent_client_is_told_as_progress_that_waits(ears: Ears) -> None:
    # Given a client that says something, and is silent
    heard = source(ears, LiveAudio(), Sound(bytes(32_000), frames=1), Sound(b""), Sound(b"", last=True))
    # When the source is followed
    waited = [heard.waits async for _ in heard.windows()]
    # Then it says when it waits, without a job of the engine
    assert waited == [False, True, False]
    assert ears.bytes == [32_000, 0]


async def test_a_long_gap_is_heard_in_jobs_and_told_whole(ears: Ears) -> None:
    # Given sound of 48 kHz in two channels, in which a minute is missing
    audio = LiveAudio(sample_rate=48_000, channels=2)
    minute, second = 60 * 192_000, 192_000
    gap = Sound(bytes(minute + second), frames=601, silence=minute, last=True)
    # When it is heard
    heard = source(ears, audio, Sound(bytes(second), frames=10), gap)
    assert [each async for each in heard.windows() if isinstance(each, Window)] == []
    # Then no job has more than a mebibyte, and the missing sound is that minute
    assert max(ears.bytes) <= 1024 * 1024
    assert sum(ears.bytes) == minute + 2 * second
    missing = heard.missing
    assert (missing[0].start, missing[-1].end) == pytest.approx((1, 61), abs=0.01)
    assert all(one.end == other.start for one, other in pairwise(missing))
