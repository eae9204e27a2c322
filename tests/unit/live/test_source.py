"""The source of a live run: how it has the engine process the audio of a client."""

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
from natscribe.schemas.transcription import Segment

from app.engines.audio.limits import Limit
from app.engines.audio.live_streams import LiveStreams
from app.engines.audio.windows import FRAME
from app.engines.engine import Engine
from app.engines.messages import (
    CloseLiveStream,
    LiveAudioProcessed,
    LiveSpeakerOptions,
    ProcessLiveAudio,
    StageAdvanced,
)
from app.engines.windows import Window
from app.runtime.errors import TransientError
from app.speech.live.frame_offsets import FrameOffset
from app.speech.live.frames import FrameReader, JoinedFrames
from app.speech.live.source import LiveSource
from app.speech.updates import Checkpoint
from tests.unit.engines.opus_files import RATE, hum, recorded

OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=RATE)
NOTHING = Checkpoint()


class Stored(FrameReader):
    """Reads audio that a client has stored already, and records where it was read from; a part is a message."""

    def __init__(self, *parts: JoinedFrames) -> None:
        self._sounds = parts
        self._after = self.count = self.size = 0
        self.read_from: list[FrameOffset] = []

    async def read(self, start: FrameOffset, until: int | None = None) -> AsyncGenerator[JoinedFrames, None]:
        assert until is None
        self.read_from.append(start)
        self._after, self.count, self.size = start.sequence, start.frame, start.size
        for part in self._sounds[start.sequence :]:
            self._after, self.count, self.size = (
                self._after + 1,
                self.count + part.frames,
                self.size + len(part.data),
            )
            yield part


def no_speech(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A voice detector that detects no speech."""
    return np.zeros(len(samples) // FRAME, np.float32)


class LiveEngine:
    """An engine of live streams alone: it records how many bytes each job has, and dies at some of them."""

    def __init__(self) -> None:
        self._streams = LiveStreams(Limit(10_000, "AUDIO_MAX_SECONDS"), lambda *_: no_speech)
        self.bytes: list[int] = []
        self.dies_at: list[int] = []  # the numbers of jobs
        self.speakers: list[LiveSpeakerOptions | None] = []  # of each job

    async def run(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[LiveAudioProcessed, None]:
        if isinstance(job, ProcessLiveAudio):
            self.bytes.append(len(b64decode(job.data)))
            self.speakers.append(job.speakers)
            job = job.model_copy(update={"speakers": None})  # it has no model for them
            if len(self.bytes) - 1 in self.dies_at:
                raise TransientError(ErrorCode.ENGINE_FAILED, "The process has died.")
        yield self._streams.run(job)


@pytest.fixture
def engine() -> LiveEngine:
    return LiveEngine()


def source(engine: LiveEngine, audio: LiveAudio, *parts: JoinedFrames, checkpoint: Checkpoint = NOTHING) -> LiveSource:
    return LiveSource(cast("Engine", engine), Stored(*parts), task(audio), checkpoint)


def task(audio: LiveAudio) -> LiveTask:
    return LiveTask(task_id="live-1", user_id=7, audio=audio)


async def test_dense_opus_is_processed_in_steps(engine: LiveEngine) -> None:
    # Given a minute and a half of Opus with six kilobits a second, which a client has sent at once
    file = recorded("ogg", hum(90), bit_rate=6000)
    followed = source(engine, OPUS, JoinedFrames(file, frames=4, last=True))
    # When it is processed
    progress = [item async for item in followed.utterances(lambda: True) if isinstance(item, StageAdvanced)]
    # Then it is processed whole, in jobs of at most a minute
    assert followed.seconds == pytest.approx(90, abs=0.1)
    assert max(b.processed_seconds - a.processed_seconds for a, b in pairwise(progress)) < 60


async def test_a_silent_client_is_reported_as_progress_that_waits(engine: LiveEngine) -> None:
    # Given a client that says something, and is silent
    followed = source(
        engine, LiveAudio(), JoinedFrames(bytes(32_000), frames=1), JoinedFrames(b""), JoinedFrames(b"", last=True)
    )
    # When the source is followed
    waited = [followed.waits async for _ in followed.utterances(lambda: True)]
    # Then it says when it waits, without a job of the engine
    assert waited == [False, True, False]
    assert engine.bytes == [32_000, 0]
    # And when each second was processed, as if it had come in real time
    now, before = followed.spoken_at(followed.seconds), followed.spoken_at(followed.seconds - 5)
    assert now - before == pytest.approx(5)
    assert 0 <= time.monotonic() - now < 60


async def test_a_long_gap_is_processed_in_jobs_and_reported_whole(engine: LiveEngine) -> None:
    # Given audio of 48 kHz in two channels, in which a minute is missing
    audio = LiveAudio(sample_rate=48_000, channels=2)
    minute, second = 60 * 192_000, 192_000
    gap = JoinedFrames(bytes(minute + second), frames=601, silence=minute, last=True)
    # When it is processed
    followed = source(engine, audio, JoinedFrames(bytes(second), frames=10), gap)
    assert [item async for item in followed.utterances(lambda: True) if isinstance(item, Window)] == []
    # Then no job has more than a mebibyte, and the missing audio is that minute
    assert max(engine.bytes) <= 1024 * 1024
    assert sum(engine.bytes) == minute + 2 * second
    missing = followed.missing
    assert (missing[0].start, missing[-1].end) == pytest.approx((1, 61), abs=0.01)
    assert all(before.end == after.start for before, after in pairwise(missing))


async def test_what_a_file_skips_is_missing() -> None:
    # Given a file of which some seconds are lost in its second and third ten seconds
    replies = [
        LiveAudioProcessed(seconds=10.0 * at, lost=lost, windows=[], open=[], complete_until=[])
        for at, lost in ((1, 0), (2, 3), (3, 5))
    ]

    class ScriptedEngine(LiveEngine):
        async def run(self, job: ProcessLiveAudio | CloseLiveStream) -> AsyncGenerator[LiveAudioProcessed, None]:
            yield (
                replies.pop(0)
                if isinstance(job, ProcessLiveAudio)
                else LiveAudioProcessed(seconds=0, windows=[], open=[], complete_until=[])
            )

    followed = source(ScriptedEngine(), OPUS, *[JoinedFrames(b"audio", frames=1, last=at == 2) for at in range(3)])
    # When it is processed, then they are missing where each begins
    async for _ in followed.utterances(lambda: True):
        pass
    assert [(item.start, item.end) for item in followed.missing] == [(10, 13), (20, 22)]


async def test_progress_does_not_go_back_when_another_worker_processes_the_last_audio_again(engine: LiveEngine) -> None:
    # Given a stream whose text has reached its second 70, and whose audio is read from its second 30 on
    parts = [JoinedFrames(bytes(320_000), frames=10) for _ in range(8)] + [JoinedFrames(b"", last=True)]
    checkpoint = Checkpoint(reached={None: 70.0}, audio_offset=str(FrameOffset(3, 30, 960_000)))
    followed = source(engine, LiveAudio(), *parts, checkpoint=checkpoint)
    # When it is processed again
    progress = [
        item.processed_seconds async for item in followed.utterances(lambda: True) if isinstance(item, StageAdvanced)
    ]
    # Then the progress begins where it was
    assert progress[0] == 70
    assert progress == sorted(progress)
    assert progress[-1] > 79
    # And an utterance that begins where the text ends is not complete
    assert [followed.is_over(None, second) for second in (69.9, 70.0)] == [True, False]


@pytest.mark.parametrize(
    ("dies_at", "ends"),
    [
        pytest.param([3, 4, 5], True, id="three times without progress"),
        pytest.param([3, 4, 5, 6], False, id="four times"),
        pytest.param([3, 8, 14, 21, 29], True, id="often, each time after more audio"),
    ],
)
async def test_a_process_that_dies_again_and_again_gets_on_or_ends_the_attempt(
    engine: LiveEngine, dies_at: list[int], ends: bool
) -> None:
    # Given a process that dies at some of its jobs
    parts = [JoinedFrames(bytes(32_000), frames=1, last=number == 9) for number in range(10)]
    followed, engine.dies_at = source(engine, LiveAudio(), *parts), dies_at
    # When audio is processed from its start each time, then it ends unless nothing gets on
    with nullcontext() if ends else pytest.raises(TransientError):
        async for _ in followed.utterances(lambda: True):
            pass
    assert (followed.seconds == 10) is ends


@pytest.mark.parametrize("channels", [1, 2])
async def test_audio_is_processed_again_from_its_offset_when_its_process_dies(
    engine: LiveEngine, channels: int
) -> None:
    # Given three minutes of audio, of which the sixth ten seconds are missing
    audio, ten_s = LiveAudio(sample_rate=8000, channels=channels), bytes(160_000 * channels)
    parts = [JoinedFrames(ten_s, frames=10, silence=len(ten_s) if number == 5 else 0) for number in range(18)]
    frames = Stored(*parts, JoinedFrames(b"", last=True))
    followed = LiveSource(cast("Engine", engine), frames, task(audio), NOTHING)
    # When the process dies after two minutes, and the text has reached the second 90
    engine.dies_at = [12]
    async for _ in followed.utterances(lambda: True):
        if len(engine.bytes) == 10:
            followed.audio_offset(dict.fromkeys(followed.channels, 90.0), finalized=0)
    # Then another process gets the audio from an offset on that is early enough, and knows what is before it
    assert frames.read_from == [FrameOffset(), FrameOffset(5, 50, 5 * len(ten_s))]
    assert followed.seconds == pytest.approx(180, abs=0.1)
    # And the missing audio is reported once
    assert [(item.start, item.end) for item in followed.missing] == [pytest.approx((50, 60), abs=0.01)]


async def test_the_first_job_of_each_process_has_the_options_of_diarization(engine: LiveEngine) -> None:
    # Given a task with at most three speakers, of whom earlier attempts have published five labels
    published = Segment(start=0, end=1, text="one", words=[], speaker="SPEAKER_04")
    options = task(LiveAudio()).model_copy(update={"diarize": True, "max_speakers": 3})
    frames = Stored(*[JoinedFrames(bytes(32_000), frames=1, last=number == 3) for number in range(4)])
    followed = LiveSource(cast("Engine", engine), frames, options, Checkpoint(segments=(published,)))
    # When the process dies at its third job, and another one processes the audio again
    engine.dies_at = [2]
    async for _ in followed.utterances(lambda: True):
        pass
    # Then the first job of each says how many speakers there may be, and which labels are taken
    stated = [(at, job.max_speakers, job.labels) for at, job in enumerate(engine.speakers) if job is not None]
    assert stated == [(0, 3, 5), (3, 3, 5)]
