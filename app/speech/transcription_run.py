"""The transcription of one recording from a checkpoint on: all channels as one, or one channel after the other."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.engines.engine import Engine
from app.engines.messages import Listen, StageAdvanced, Transcribe
from app.errors import PermanentError
from app.speech.pace import processed
from app.speech.recall import Recall, Transcript, TranscriptInOrder
from app.speech.recordings import Recording
from app.speech.transcriber_pool import BatchSizes, Transcribed
from app.speech.windows_in_order import Lending, WindowsInOrder
from app.updates import Advanced, Checkpoint, Found
from schemas.errors import ErrorCode
from schemas.progress import Stage
from schemas.transcription import MOST_CHANNELS, Channels, Segment, Stretch, TranscriptionTask
from schemas.wire import Model


class TranscriptionRun:
    """What is found so far is in `segments` and `untranscribed`, those of the checkpoint included."""

    def __init__(  # noqa: PLR0913 -- what works, and what it works on
        self,
        engine: Engine,
        recall: Recall,
        lending: Lending,
        recording: Recording,
        task: TranscriptionTask,
        *,
        batches: BatchSizes,
    ) -> None:
        self._engine = engine
        self._recall = recall
        self._lending = lending
        self._recording = recording
        self._task = task
        self._batches = batches
        self.segments: list[Segment] = []
        self.untranscribed: list[Stretch] = []
        self.duration = 0.0
        self.model: Model | None = None
        self.channels = 1  # of the recording, once that is known
        self.cached = False  # whether nothing had to be transcribed

    @property
    def separate(self) -> bool:
        """Whether each channel is transcribed on its own."""
        return self._task.channels is Channels.SEPARATE and self.channels > 1

    async def news(self, checkpoint: Checkpoint) -> AsyncGenerator[Advanced | Found, None]:
        """Yield what is found from the checkpoint on (TaskError)."""
        self.segments, self.untranscribed = list(checkpoint.segments), list(checkpoint.untranscribed)
        self.cached = True
        channel = checkpoint.channel
        if channel is None and self._task.channels is Channels.SEPARATE:
            channel = 0
        start_at, language = checkpoint.processed_seconds, checkpoint.language
        while True:
            async with aclosing(self._channel(channel, start_at, language)) as found:
                async for each in found:
                    yield each
            channel, start_at, language = (channel or 0) + 1, 0.0, None
            if not self.separate or channel >= self.channels:
                return

    async def _channel(
        self, channel: int | None, start_at: float, language: str | None
    ) -> AsyncGenerator[Advanced | Found, None]:
        """Transcribe a channel, null: all as one; `language` is what was spoken in it before `start_at` seconds."""
        first, first_missing = len(self.segments), len(self.untranscribed)
        windows = await self._windows(channel, start_at, language)
        async with aclosing(windows.run()) as replies:
            async for reply in replies:
                self._note(windows)
                if isinstance(reply, Transcribed):
                    found = self._found(reply, channel)
                    self.segments += found.segments
                    self.untranscribed += found.untranscribed
                    yield found
                yield self._advanced(reply, channel or 0)
        self._note(windows)
        self.cached = self.cached and isinstance(windows, TranscriptInOrder)
        if self.model is not None and not start_at and isinstance(windows, WindowsInOrder):
            transcript = Transcript(
                duration=self.duration,
                channels=self.channels,
                model=self.model,
                segments=self.segments[first:],
                untranscribed=self.untranscribed[first_missing:],
            )
            await self._recording.check()
            await self._recall.keep_transcript(self._recording.sha256, self._task, channel, transcript)

    async def _windows(
        self, channel: int | None, start_at: float, language: str | None
    ) -> WindowsInOrder | TranscriptInOrder:
        known = await self._recall.transcript(self._recording.sha256, self._task, channel)
        if known is not None:
            return TranscriptInOrder(known, start_at)
        listen = Listen(path=self._recording.path, start_at=start_at, channel=channel)
        hear = Transcribe(windows=[], options=self._task.options, previous=language)
        return WindowsInOrder(self._engine, listen, hear, self._lending, batches=self._batches)

    def _note(self, windows: WindowsInOrder | TranscriptInOrder) -> None:
        """Take over what is known of the recording and of the model (PermanentError, invalid_message)."""
        self.duration, self.model, self.channels = windows.duration, windows.model, windows.channels
        if self._task.channels is Channels.SEPARATE and self.channels > MOST_CHANNELS:
            message = (
                f"channels: the recording has {self.channels} channels, and up to {MOST_CHANNELS} are transcribed each"
                " on its own: leave `channels` out, and they are mixed."
            )
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)

    def _found(self, reply: Transcribed, channel: int | None) -> Found:
        segments = tuple(self._wanted(segment, channel) for segment in reply.segments)
        sha256, missing = self._recording.sha256, tuple(reply.untranscribed)
        told = channel if self.separate else None
        return Found(reply.language, reply.processed_seconds, segments, sha256, told, missing)

    def _wanted(self, segment: Segment, channel: int | None) -> Segment:
        """A segment as the task wants it: its words only if they are of use, its channel if that is its speaker."""
        changed: dict[str, object] = {}
        if not (self._task.word_timestamps or self._task.diarize):
            changed["words"] = None
        if self.separate:
            changed |= {"channel": channel, "speaker": f"SPEAKER_{channel:02}"}
        return segment.model_copy(update=changed)

    def _advanced(self, reply: StageAdvanced | Transcribed, channel: int) -> Advanced:
        """How far that is; of several channels each is a part of the whole."""
        stage = reply.stage if isinstance(reply, StageAdvanced) else Stage.TRANSCRIBING
        seconds, duration = reply.processed_seconds, reply.duration_seconds
        if self.separate and duration is not None:
            seconds = (channel * duration + seconds) / self.channels
        return processed(stage, seconds, duration)
