"""The source of a live run: the utterances of a live task, one after the other, as soon as each is complete."""

import time
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from uuid import uuid4

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveTask
from natscribe.schemas.progress import Stage
from natscribe.schemas.sharing import Window
from natscribe.schemas.transcription import Channels, Stretch

from app.engines.messages import Hear, Heard, StageAdvanced
from app.errors import TransientError
from app.live.ear import Ear
from app.live.frames import Frames, Sound

MOST_BYTES = 1024 * 1024  # of sound in one job
MOST_RESTARTS = 3  # of the listening process, without an utterance in between


class LiveSource:
    """The utterances of a live task behind what is transcribed already.

    `seconds` is how much sound was heard so far, `open` has the utterances that are not complete yet, at most one for
    each channel, and `waiting_seconds` is how much sound is stored and not heard yet, as far as known.
    """

    def __init__(self, ear: Ear, frames: Frames, task: LiveTask, reached: Mapping[int | None, float]) -> None:
        """`reached` says for each channel (null: all mixed) up to which second it is transcribed already."""
        self._ear = ear
        self._frames = frames
        self._task = task
        self.channels = channels_of(task)
        self._reached = {channel: reached.get(channel, 0.0) for channel in self.channels}
        self.seconds = self.waiting_seconds = self._heard_at = 0.0
        self.open: Sequence[Window] = ()
        self.missing: list[Stretch] = []  # sound that was never stored
        self.show: Callable[[], bool] = lambda: True  # whether `open` is wanted, which costs a copy of the sound

    async def windows(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        """Yield each utterance, and the progress over sound without speech.

        If the listening process dies, another one hears the stream again and goes on behind the last utterance.

        Raises:
            TaskError: The sound cannot be read, or the engine failed.
        """
        restarts = 0
        while True:
            before = dict(self._reached)
            try:
                async with aclosing(self._heard()) as found:
                    async for each in found:
                        yield each
            except TransientError as error:
                restarts = restarts + 1 if self._reached == before else 1
                if error.detail.code is not ErrorCode.ENGINE_FAILED or restarts > MOST_RESTARTS:
                    raise
            else:
                return

    def said_at(self, second: float) -> float:
        """Return when a second of the stream was heard, on the monotonic clock, as if the sound came in real time."""
        return self._heard_at - (self.seconds - second)

    async def _heard(self) -> AsyncGenerator[StageAdvanced | Window, None]:
        stream, first = f"{self._task.task_id} {uuid4().hex}", True
        self.seconds, self.open, self.missing = 0.0, (), []
        try:
            async with aclosing(self._frames.read()) as read:
                async for sound in _in_jobs(read):
                    heard = await self._ear.hear(self._job(stream, sound, first=first))
                    first = False
                    self._note(sound, heard)
                    for window in heard.windows:
                        self._reached[window.channel] = window.end
                        yield window
                    processed = min(heard.settled, default=heard.seconds)
                    yield StageAdvanced(stage=Stage.TRANSCRIBING, processed_seconds=processed, duration_seconds=None)
        finally:
            self._ear.forget(stream)

    def _job(self, stream: str, sound: Sound, *, first: bool) -> Hear:
        return Hear(
            stream=stream,
            audio=self._task.audio,
            separate=self.channels != [None],
            start_at=list(self._reached.values()) if first else [],
            first=first,
            sound=b64encode(sound.data).decode(),
            show=self.show(),
            end=sound.last,
        )

    def _note(self, sound: Sound, heard: Heard) -> None:
        frame_s = max(heard.seconds - self.seconds, 0.0) / max(sound.frames, 1)
        self.waiting_seconds = sound.waiting * frame_s
        if sound.missing:
            self.missing.append(
                Stretch(start=self.seconds, end=min(self.seconds + sound.missing * frame_s, heard.seconds))
            )
        self.seconds, self._heard_at = heard.seconds, time.monotonic()
        self.open = heard.open


async def _in_jobs(read: AsyncIterator[Sound]) -> AsyncIterator[Sound]:
    """Cut sound that is too long for one job."""
    async for sound in read:
        data = sound.data
        while len(data) > MOST_BYTES:
            yield replace(sound, data=data[:MOST_BYTES], missing=0, last=False)
            data = data[MOST_BYTES:]
        yield replace(sound, data=data)


def channels_of(task: LiveTask) -> list[int | None]:
    """Return the channels of a task that are transcribed each on its own; null: all mixed."""
    if task.audio.channels == 1 or task.channels is Channels.MIX:
        return [None]
    return list(range(task.audio.channels))
