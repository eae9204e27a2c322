"""The source of a live run: how it has the sound of a client heard."""

import time
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import nullcontext
from itertools import pairwise
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveAudio, LiveTask
from natscribe.schemas.windows import Window

from app.engines.audio.limits import Limit
from app.engines.audio.live_streams import LiveStreams
from app.engines.audio.windows import FRAME
from app.engines.engine import Engine
from app.engines.messages import CloseLiveStream, LiveAudioProcessed, ProcessLiveAudio, StageAdvanced
from app.errors import TransientError
from app.live.frame_offsets import FrameOffset
from app.live.frames import FrameReader, JoinedFrames
from app.live.source import LiveSource
from app.updates import Checkpoint
from tests.unit.engines.opus_files import RATE, hum, recorded

OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=RATE)
NOTHING = Checkpoint()


class Stored(FrameReader):
    """A client that has stored this sound already, and where its readers have begun; a sound is a message."""

    def __init__(self, *sounds: JoinedFrames) -> None:
        self._sounds = sounds
        self._after = self.count = self.size = 0
        self.read_from: list[FrameOffset] = []

    async def read(self, start: FrameOffset, until: int | None = None) -> AsyncGenerator[JoinedFrames, None]:
        assert until is None
        self.read_from.append(start)
        self._after, self.count, self.size = start.sequence, start.frame, start.size
        for sound in self._sounds[start.sequence :]:
            self._after, self.count, self.size = (
                self._after + 1,
                self.count + sound.frames,
                self.size + len(sound.data),
            )
            yield sound


def nothing_said(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A voice detector that hears nobody: what is found is not the matter here."""
    return np.zeros(len(samples) // FRAME, np.float32)


class Ears:
    """The engine, which only hears; it remembers how many bytes each job has, and dies at some of them."""

    def __init__(self) -> None:
        self._streams = LiveStreams(Limit(10_000, "AUDIO_MAX_SECONDS"), lambda *_: nothing_said)
        self.bytes: list[int] = []
        self.dies_at: list[int] = []  # the numbers of jobs

    async def run(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[LiveAudioProcessed, None]:
        if isinstance(job, ProcessLiveAudio):
            self.bytes.append(len(b64decode(job.data)))
            if len(self.bytes) - 1 in self.dies_at:
                raise TransientError(ErrorCode.ENGINE_FAILED, "The process that hears has died.")
        yield self._streams.run(job)


@pytest.fixture
def ears() -> Ears:
    return Ears()


def source(ears: Ears, audio: LiveAudio, *sounds: JoinedFrames, checkpoint: Checkpoint = NOTHING) -> LiveSource:
    return LiveSource(cast("Engine", ears), Stored(*sounds), task(audio), checkpoint)


def task(audio: LiveAudio) -> LiveTask:
    return LiveTask(task_id="live-1", user_id=7, audio=audio)


async def test_dense_opus_is_heard_in_steps(ears: Ears) -> None:
    # Given a minute and a half of Opus with six kilobits a second, which a client has sent at once
    file = recorded("ogg", hum(90), bit_rate=6000)
    heard = source(ears, OPUS, JoinedFrames(file, frames=4, last=True))
    # When it is heard
    progress = [each async for each in heard.windows() if isinstance(each, StageAdvanced)]
    # Then it is heard whole, in jobs of at most a minute
    assert heard.seconds == pytest.approx(90, abs=0.1)
    assert max(b.processed_seconds - a.processed_seconds for a, b in pairwise(progress)) < 60


async def test_a_silent_client_is_told_as_progress_that_waits(ears: Ears) -> None:
    # Given a client that says something, and is silent
    heard = source(
        ears, LiveAudio(), JoinedFrames(bytes(32_000), frames=1), JoinedFrames(b""), JoinedFrames(b"", last=True)
    )
    # When the source is followed
    waited = [heard.waits async for _ in heard.windows()]
    # Then it says when it waits, without a job of the engine
    assert waited == [False, True, False]
    assert ears.bytes == [32_000, 0]
    # And when each second was heard, as if it had come in real time
    now, before = heard.spoken_at(heard.seconds), heard.spoken_at(heard.seconds - 5)
    assert now - before == pytest.approx(5)
    assert 0 <= time.monotonic() - now < 60


async def test_a_long_gap_is_heard_in_jobs_and_told_whole(ears: Ears) -> None:
    # Given sound of 48 kHz in two channels, in which a minute is missing
    audio = LiveAudio(sample_rate=48_000, channels=2)
    minute, second = 60 * 192_000, 192_000
    gap = JoinedFrames(bytes(minute + second), frames=601, silence=minute, last=True)
    # When it is heard
    heard = source(ears, audio, JoinedFrames(bytes(second), frames=10), gap)
    assert [each async for each in heard.windows() if isinstance(each, Window)] == []
    # Then no job has more than a mebibyte, and the missing sound is that minute
    assert max(ears.bytes) <= 1024 * 1024
    assert sum(ears.bytes) == minute + 2 * second
    missing = heard.missing
    assert (missing[0].start, missing[-1].end) == pytest.approx((1, 61), abs=0.01)
    assert all(one.end == other.start for one, other in pairwise(missing))


async def test_what_a_file_skips_is_missing() -> None:
    # Given a file of which some seconds are lost in its second and third ten seconds
    heard = [
        LiveAudioProcessed(seconds=10.0 * at, lost=lost, windows=[], open=[], complete_until=[])
        for at, lost in ((1, 0), (2, 3), (3, 5))
    ]

    class Told(Ears):
        async def run(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[LiveAudioProcessed, None]:
            yield (
                heard.pop(0)
                if isinstance(job, ProcessLiveAudio)
                else LiveAudioProcessed(seconds=0, windows=[], open=[], complete_until=[])
            )

    followed = source(Told(), OPUS, *[JoinedFrames(b"sound", frames=1, last=at == 2) for at in range(3)])
    # When it is heard, then they are missing where each begins
    async for _ in followed.windows():
        pass
    assert [(each.start, each.end) for each in followed.missing] == [(10, 13), (20, 22)]


async def test_progress_does_not_go_back_when_another_worker_hears_the_last_sound_again(ears: Ears) -> None:
    # Given a stream whose text has reached its second 70, and whose sound is read from its second 30 on
    sounds = [JoinedFrames(bytes(320_000), frames=10) for _ in range(8)] + [JoinedFrames(b"", last=True)]
    checkpoint = Checkpoint(reached={None: 70.0}, audio_offset=str(FrameOffset(3, 30, 960_000)))
    heard = source(ears, LiveAudio(), *sounds, checkpoint=checkpoint)
    # When it is heard again
    progress = [each.processed_seconds async for each in heard.windows() if isinstance(each, StageAdvanced)]
    # Then the progress begins where it was
    assert progress[0] == 70
    assert progress == sorted(progress)
    assert progress[-1] > 79
    # And whoever begins where the text ends has not ended
    assert [heard.is_over(None, second) for second in (69.9, 70.0)] == [True, False]


@pytest.mark.parametrize(
    ("dies_at", "ends"),
    [
        pytest.param([3, 4, 5], True, id="three times without progress"),
        pytest.param([3, 4, 5, 6], False, id="four times"),
        pytest.param([3, 8, 14, 21, 29], True, id="often, each time after more sound"),
    ],
)
async def test_a_process_that_dies_again_and_again_gets_on_or_ends_the_attempt(
    ears: Ears, dies_at: list[int], ends: bool
) -> None:
    # Given a process that dies at some of its jobs
    sounds = [JoinedFrames(bytes(32_000), frames=1, last=number == 9) for number in range(10)]
    heard, ears.dies_at = source(ears, LiveAudio(), *sounds), dies_at
    # When sound is heard from its begin each time, then it ends unless nothing gets on
    with nullcontext() if ends else pytest.raises(TransientError):
        async for _ in heard.windows():
            pass
    assert (heard.seconds == 10) is ends


@pytest.mark.parametrize("channels", [1, 2])
async def test_sound_is_heard_again_from_its_place_when_its_process_dies(ears: Ears, channels: int) -> None:
    # Given three minutes of sound, of which the sixth ten seconds are missing
    audio, ten_s = LiveAudio(sample_rate=8000, channels=channels), bytes(160_000 * channels)
    sounds = [JoinedFrames(ten_s, frames=10, silence=len(ten_s) if number == 5 else 0) for number in range(18)]
    frames = Stored(*sounds, JoinedFrames(b"", last=True))
    heard = LiveSource(cast("Engine", ears), frames, task(audio), NOTHING)
    # When the process that hears dies behind two minutes, and the text has reached the second 90
    ears.dies_at = [12]
    async for _ in heard.windows():
        if len(ears.bytes) == 10:
            heard.audio_offset(dict.fromkeys(heard.channels, 90.0))
    # Then another one hears the sound from a place on that is early enough, and knows what is before it
    assert frames.read_from == [FrameOffset(), FrameOffset(5, 50, 5 * len(ten_s))]
    assert heard.seconds == pytest.approx(180, abs=0.1)
    # And the missing sound is told once
    assert [(each.start, each.end) for each in heard.missing] == [pytest.approx((50, 60), abs=0.01)]
