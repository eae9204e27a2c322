"""The source of a run over a live task: it yields each utterance as soon as it is complete."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from uuid import uuid4

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveTask
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Channels, Interval
from natscribe.schemas.windows import Window

from app.engines.engine import Engine, run_job
from app.engines.messages import CloseLiveStream, LiveAudioProcessed, ProcessLiveAudio, StageAdvanced
from app.errors import TaskError, TransientError
from app.live.frame_offsets import FrameOffset, FrameOffsets
from app.live.frames import FrameReader, JoinedFrames
from app.updates import Checkpoint

MAX_JOB_BYTES = 1024 * 1024  # of sound in one job
MAX_OPUS_JOB_BYTES = 32 * 1024  # of a file: eleven seconds of good speech, and minutes of what is coded most densely
RESTART_PAUSE_S = 0.1
MAX_RESTARTS = 3  # of the listening process, without an utterance in between


class LiveSource:
    """The source of the utterances of a live task, after the last one that an earlier attempt has transcribed.

    `seconds`: how much sound was heard so far. `open`: the open utterances, at most one for each channel.
    `waiting_seconds`: how much sound is stored and was not heard yet, as far as known.
    """

    def __init__(self, engine: Engine, frames: FrameReader, task: LiveTask, checkpoint: Checkpoint) -> None:
        """`checkpoint` has the second up to which each channel (null: all mixed) is transcribed already."""
        self._engine = engine
        self._frames = frames
        self._task = task
        self.channels = channels_of(task)
        self._reached = {channel: checkpoint.reached.get(channel, 0.0) for channel in self.channels}
        self._offsets = FrameOffsets(task.audio, FrameOffset.parse(checkpoint.audio_offset))
        self.seconds = self.waiting_seconds = self._heard_at = self._lost = 0.0
        self.waits = False  # whether the client is silent
        self.open: Sequence[Window] = ()
        self.missing: list[Interval] = []  # sound that was never stored
        self.on_closing: Callable[[Window], None] = lambda _: None  # is called with each utterance that is closing
        self.include_open: Callable[[], bool] = lambda: (
            True
        )  # whether `open` is wanted, which costs a copy of the sound

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield each utterance, and progress over sound without speech.

        If the engine process that hears dies, another one hears the last sound again, and goes on after the last
        utterance. After MOST_RESTARTS such restarts in a row without new sound, the next error is raised.

        Raises:
            TaskError: The sound cannot be read, or the engine failed.
        """
        restarts = 0
        while True:
            before, heard_before = dict(self._reached), self.seconds
            try:
                async with aclosing(self._heard()) as found:
                    async for each in found:
                        yield each
            except TransientError as error:
                got_on = self._reached != before or self.seconds > heard_before
                restarts = 1 if got_on else restarts + 1
                if error.detail.code is not ErrorCode.ENGINE_FAILED or restarts > MAX_RESTARTS:
                    raise
                await asyncio.sleep(restarts * RESTART_PAUSE_S)
            else:
                return

    def is_over(self, channel: int | None, start: float) -> bool:
        """Whether the utterance that begins at `start` seconds in a channel is complete."""
        return start < self._reached[channel]

    def spoken_at(self, second: float) -> float:
        """Return when the sound of a second was heard, on the monotonic clock, as if all sound came in real time."""
        return self._heard_at - (self.seconds - second)

    def audio_offset(self, reached: Mapping[int | None, float]) -> str:
        """Return, as text, the place from which another worker would have to read; forget earlier places.

        `reached`: the second up to which each channel has its text.
        """
        for channel, second in reached.items():
            self._reached[channel] = max(self._reached[channel], second)
        self._offsets.drop_before(min(reached.values()))
        return str(self._offsets.first)

    async def _heard(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        stream, first = f"{self._task.task_id} {uuid4().hex}", True
        most = MAX_OPUS_JOB_BYTES if self._task.audio.codec is Codec.OPUS else MAX_JOB_BYTES
        start = self._offsets.first
        self.seconds, self._lost, self.open, self.missing = self._offsets.seconds(start), 0.0, (), []
        advanced = _advanced(min(self._reached.values()))
        try:
            async with aclosing(self._frames.read(start)) as read:
                async for sound in _in_jobs(read, most):
                    self.waits = not (sound.frames or sound.data or sound.last)
                    if self.waits:
                        yield advanced
                        continue
                    heard = await run_job(
                        self._engine, self._job(stream, sound, start if first else None), LiveAudioProcessed
                    )
                    first = False
                    self._note(sound, heard)
                    self._offsets.add(self._frames.offset)
                    for window in heard.closing:
                        self.on_closing(window)
                    for window in heard.windows:
                        self._reached[window.channel] = window.end
                        yield window
                    complete_until = min(heard.complete_until, default=heard.seconds)
                    advanced = _advanced(max(complete_until, min(self._reached.values())))  # sound may be heard again
                    yield advanced
        finally:
            with suppress(TaskError):
                await run_job(self._engine, CloseLiveStream(stream=stream), LiveAudioProcessed)

    def _job(self, stream: str, sound: JoinedFrames, start: FrameOffset | None) -> ProcessLiveAudio:
        """Make a job; `start`: the place at which the stream begins, in its first job alone."""
        return ProcessLiveAudio(
            stream=stream,
            audio=self._task.audio,
            separate=self.channels != [None],
            start_at=list(self._reached.values()) if start else [],
            first=start is not None,
            skipped_bytes=start.size if start else 0,
            data=b64encode(sound.data).decode(),
            include_open=self.include_open(),
            end=sound.last,
        )

    def _note(self, sound: JoinedFrames, heard: LiveAudioProcessed) -> None:
        if sound.frames:
            self.waiting_seconds = sound.waiting * max(heard.seconds - self.seconds, 0.0) / sound.frames
        if sound.silence and sound.data:
            seconds = (heard.seconds - self.seconds) * sound.silence / len(sound.data)
            self.missing.append(Interval(start=self.seconds, end=self.seconds + seconds))
        if heard.lost > self._lost:  # of a file whose time stamps skip sound: it has become silence
            end = min(self.seconds + heard.lost - self._lost, heard.seconds)
            self.missing.append(Interval(start=self.seconds, end=end))
        self._lost = heard.lost
        self.seconds, self._heard_at = heard.seconds, time.monotonic()
        self.open = heard.open


def _advanced(seconds: float) -> StageAdvanced:
    return StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=None)


async def _in_jobs(read: AsyncIterator[JoinedFrames], most: int) -> AsyncIterator[JoinedFrames]:
    """Cut sound into parts of at most `most` bytes, as many as one job may have."""
    async for sound in read:
        for at in range(0, len(sound.data) or 1, most):
            data, silence = sound.data[at : at + most], min(max(sound.silence - at, 0), most)
            is_last = at + most >= len(sound.data)
            frames, last = (sound.frames, sound.last) if is_last else (0, False)
            yield replace(sound, data=data, frames=frames, silence=silence, last=last)


def channels_of(task: LiveTask) -> list[int | None]:
    """Return the channels of a task that are transcribed each on its own; null: all mixed."""
    if task.audio.channels == 1 or task.channels is Channels.MIX:
        return [None]
    return list(range(task.audio.channels))
