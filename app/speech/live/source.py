"""The utterances of a live task, each yielded as soon as it is complete: the input of a `WindowPipeline`."""

import asyncio
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from uuid import uuid4

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import Codec, LiveTask
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Channels, Interval

from app.engines.engine import Engine, run_job
from app.engines.messages import (
    CloseLiveStream,
    LiveAudioProcessed,
    LiveSpeakerOptions,
    ProcessLiveAudio,
    StageAdvanced,
)
from app.engines.windows import Window
from app.runtime.errors import TaskError, TransientError
from app.speech.live.frame_offsets import FrameOffset, FrameOffsets
from app.speech.live.frames import FrameReader, JoinedFrames
from app.speech.live.speakers import Speakers, labels_in, next_number, with_earlier_turns
from app.speech.updates import Checkpoint

MAX_JOB_BYTES = 1024 * 1024  # of audio in one job
MAX_OPUS_JOB_BYTES = 32 * 1024  # of a file: eleven seconds of good speech, and minutes at the lowest bit rates
RESTART_PAUSE_S = 0.1
MAX_RESTARTS = 3  # of the engine process, without progress in between


@dataclass(frozen=True, slots=True)
class ClosingUtterance:
    """An utterance in a pause that may end it."""

    window: Window


@dataclass(frozen=True, slots=True)
class Mark:
    """A client's request for the text of the audio so far: all utterances before it are yielded.

    `text`: what the client has chosen. `frame`: the number of the frame after the one that has the mark.
    """

    text: str
    frame: int


Heard = StageAdvanced | ClosingUtterance | Mark | Window


class LiveSource:
    """Detects the utterances of a live task, except for those that earlier attempts have transcribed.

    `seconds`: how much audio was processed so far. `open`: the utterances in progress, at most one for each channel.
    `waiting_seconds`: an estimate of how much stored audio is not processed yet. `waits`: whether the client is silent.
    `ended`: whether all audio was processed. `speaking`: the label of who speaks now in each channel, None if unknown.
    `speakers`: the speakers of each channel so far; None before the first utterance, or if the task requests no
    diarization.
    """

    def __init__(self, engine: Engine, frames: FrameReader, task: LiveTask, checkpoint: Checkpoint) -> None:
        """Create a source; it processes no audio until `utterances` is called.

        `checkpoint.reached`: the time in seconds up to which each channel is already transcribed; the channel None is
        the mix of all channels.
        """
        self._engine = engine
        self._frames = frames
        self.task = task
        self.checkpoint = checkpoint
        self.channels = channels_of(task)
        self._reached = {channel: checkpoint.reached.get(channel, 0.0) for channel in self.channels}
        self._complete_until = min(self._reached.values())  # the text
        first = FrameOffset.parse(checkpoint.audio_offset)
        self._offsets = FrameOffsets(task.audio, first)
        self._finalized = first.finalized  # marks in frames before this number are published, or yielded
        self.seconds = self.waiting_seconds = self._processed_at = self._lost = 0.0
        self.waits = self.ended = False
        self.open: Sequence[Window] = ()
        self.speaking: Mapping[int | None, str | None] = {}
        self.speakers: Speakers | None = None
        self.missing: list[Interval] = []  # audio that was never stored

    async def utterances(self, needs_open: Callable[[], bool]) -> AsyncGenerator[Heard, None]:
        """Detect the utterances; yield each when it may end, when it is complete, and marks and progress in between.

        If the engine process dies, a new one processes the audio after the last utterance again. If it dies more than
        MAX_RESTARTS times in a row without having processed new audio, its error is raised. `needs_open`: returns
        whether the engine's next reply should update `open`, which copies audio.

        Raises:
            TaskError: The audio cannot be read, or the engine failed.
        """
        restarts = 0
        while True:
            before = dict(self._reached), self.seconds
            try:
                async with aclosing(self._process(needs_open)) as items:
                    async for item in items:
                        yield item
            except TransientError as error:
                advanced = self._reached != before[0] or self.seconds > before[1]
                restarts = 1 if advanced else restarts + 1
                if error.detail.code is not ErrorCode.ENGINE_FAILED or restarts > MAX_RESTARTS:
                    raise
                await asyncio.sleep(restarts * RESTART_PAUSE_S)
            else:
                self.ended = True
                return

    @property
    def speaker_state(self) -> str:
        """The state of diarization, a line for each channel, from which another engine process can continue."""
        if self.speakers is None:
            return self.checkpoint.speaker_state
        return "\n".join(speakers.state for speakers in self.speakers.values())

    def is_over(self, channel: int | None, start: float) -> bool:
        """Return whether the utterance of a channel that begins at `start` (seconds) is complete."""
        return start < self._reached[channel]

    def spoken_at(self, second: float) -> float:
        """Return when the audio at `second` (seconds from its start) was spoken, as a time of the monotonic clock.

        This is an estimate, which assumes that the audio processed last was spoken at the time of its processing.
        """
        return self._processed_at - (self.seconds - second)

    def audio_offset(self, reached: Mapping[int | None, float], finalized: int) -> str:
        """Return the frame offset, as text, from which a worker that takes over the task has to read the audio.

        `reached`: for each channel, the time in seconds up to which its text is complete. Offsets that are no longer
        needed are dropped. `finalized`: the number of the frame after the last one whose mark is published.
        """
        for channel, second in reached.items():
            self._reached[channel] = max(self._reached[channel], second)
        self._complete_until = min(reached.values())
        self._offsets.drop_before(self._complete_until)
        return str(replace(self._offsets.first, finalized=finalized))

    async def _process(self, needs_open: Callable[[], bool]) -> AsyncGenerator[Heard, None]:
        """Create a live stream in the engine, and process the audio from the oldest frame that is still stored."""
        stream, start = f"{self.task.task_id} {uuid4().hex}", self._offsets.first
        size = MAX_OPUS_JOB_BYTES if self.task.audio.codec is Codec.OPUS else MAX_JOB_BYTES
        self.seconds, self._lost, self.open, self.missing = self._offsets.seconds(start), 0.0, (), []
        advanced, first = _advanced(min(self._reached.values())), True
        try:
            async with aclosing(self._frames.read(start)) as frames:
                async for part in _in_jobs(frames, size):
                    self.waits = not (part.frames or part.data or part.last)
                    if not self.waits:
                        job = self._job(stream, part, start if first else None, include_open=needs_open())
                        reply = await run_job(self._engine, job, LiveAudioProcessed)
                        first = False
                        self._update(part, reply)
                        for window in reply.closing:
                            yield ClosingUtterance(window)
                        for window in reply.windows:
                            self._reached[window.channel] = window.end
                            yield window
                        if part.mark and self._frames.count > self._finalized:
                            self._finalized = self._frames.count
                            yield Mark(part.mark, self._finalized)
                        complete_until = min(reply.complete_until, default=reply.seconds)
                        # Never back: after a restart, audio is processed again.
                        advanced = _advanced(max(complete_until, min(self._reached.values())))
                    yield advanced
        finally:
            with suppress(TaskError):
                await run_job(self._engine, CloseLiveStream(stream=stream), LiveAudioProcessed)

    def _job(
        self, stream: str, part: JoinedFrames, start: FrameOffset | None, *, include_open: bool
    ) -> ProcessLiveAudio:
        """Return the engine job that processes a part of the audio.

        `stream`: the name of the engine's live stream. `start`: in the first job of the stream, the frame offset of its
        first frame, which is not the start of the audio if an earlier attempt has transcribed that; None in later jobs.
        """
        return ProcessLiveAudio(
            stream=stream,
            audio=self.task.audio,
            separate=self.channels != [None],
            start_at=list(self._reached.values()) if start else [],
            first=start is not None,
            skipped_bytes=start.size if start else 0,
            data=b64encode(part.data).decode(),
            include_open=include_open,
            speakers=self._speaker_options() if start else None,
            finalize=part.mark is not None,
            end=part.last,
        )

    def _speaker_options(self) -> LiveSpeakerOptions | None:
        """Return the options for diarizing the live stream; None if the task requests no diarization.

        The options contain the state of diarization so far, so that the speakers keep their labels.
        """
        if not self.task.diarize:
            return None
        states, labels = self.speaker_state.split("\n"), next_number(labels_in(self.checkpoint))
        return LiveSpeakerOptions(
            max_speakers=self.task.max_speakers, embed=self.task.identify, labels=labels, states=states
        )

    def _update(self, part: JoinedFrames, reply: LiveAudioProcessed) -> None:
        """Update `seconds`, `open` and so on from the engine's `reply` to the job with the audio `part`."""
        if part.frames:
            self.waiting_seconds = part.waiting * max(reply.seconds - self.seconds, 0.0) / part.frames
        if part.silence and part.data:
            seconds = (reply.seconds - self.seconds) * part.silence / len(part.data)
            self.missing.append(Interval(start=self.seconds, end=self.seconds + seconds))
        if reply.lost > self._lost:  # of a file whose time stamps skip audio: silence replaces it
            end = min(self.seconds + reply.lost - self._lost, reply.seconds)
            self.missing.append(Interval(start=self.seconds, end=end))
        self._lost, self.open = reply.lost, reply.open
        self.speaking = dict(zip(self.channels, reply.speaking, strict=False))
        if reply.speakers:
            self.speakers = {
                channel: with_earlier_turns(own, (self.speakers or {}).get(channel, own), self._complete_until)
                for channel, own in zip(self.channels, reply.speakers, strict=True)
            }
        self.seconds, self._processed_at = reply.seconds, time.monotonic()
        self._offsets.add(self._frames.offset)


def _advanced(seconds: float) -> StageAdvanced:
    return StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=seconds, duration_seconds=None)


async def _in_jobs(frames: AsyncIterator[JoinedFrames], size: int) -> AsyncIterator[JoinedFrames]:
    """Cut the frames into pieces of at most `size` bytes, the limit of one engine job; yield shorter ones unchanged."""
    async for joined in frames:
        for at in range(0, len(joined.data) or 1, size):
            data, silence = joined.data[at : at + size], min(max(joined.silence - at, 0), size)
            is_last = at + size >= len(joined.data)
            count, last, mark = (joined.frames, joined.last, joined.mark) if is_last else (0, False, None)
            yield replace(joined, data=data, frames=count, silence=silence, last=last, mark=mark)


def channels_of(task: LiveTask) -> list[int | None]:
    """Return the numbers of the channels if each is transcribed on its own, or [None] if the audio is mono or mixed."""
    if task.audio.channels == 1 or task.channels is Channels.MIX:
        return [None]
    return list(range(task.audio.channels))
