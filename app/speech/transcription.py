"""The transcription of one recording: its text from the cache or from a run, channel by channel, and the result."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import (
    MOST_CHANNELS,
    Channels,
    Source,
    TranscriptionResult,
    TranscriptionTask,
)
from natscribe.schemas.windows import WindowText

from app.engines.engine import Engine
from app.engines.messages import FindWindows, Loaded, StageAdvanced
from app.errors import PermanentError
from app.recordings.recording import Recording
from app.speech.recording_windows import RecordingWindows
from app.speech.transcript import TaskTranscript
from app.speech.transcript_cache import CachedTranscript, TranscriptCache
from app.speech.transcription_run import TranscriptionRun, WindowTranscriber, append_or_merge
from app.updates import Append, Checkpoint, processed

_PEOPLE_OF_A_CALL = 2  # with more people, a channel may have several, whom only diarization tells apart


class Transcription:
    """The transcription of one recording: all channels mixed, or one channel after the other.

    With `channels: auto` the listener chooses; an attempt that goes on after a checkpoint keeps the earlier choice.
    """

    def __init__(  # noqa: PLR0913 -- what is transcribed, by whom, and how
        self,
        engine: Engine,
        own: WindowTranscriber,
        helpers: WindowTranscriber | None,
        *,
        transcripts: TranscriptCache,
        recording: Recording,
        task: TranscriptionTask,
        loaded: Loaded,
    ) -> None:
        """`engine` finds the windows; `own` transcribes them with the model `loaded`, and `helpers` help if any do."""
        self._engine = engine
        self._own = own
        self._helpers = helpers
        self._transcripts = transcripts
        self._recording = recording
        self._task = task
        self._loaded = loaded
        self.transcript = TaskTranscript(task)
        self.duration = 0.0
        self._channels = 1  # number of the recording's channels, once known
        self.channel: int | None = None  # the channel that is transcribed, once known; null: all mixed
        self.cached = True  # whether everything so far came from the cache

    @property
    def separate(self) -> bool:
        """Whether each channel is transcribed on its own."""
        return self.channel is not None

    async def transcribe(self, checkpoint: Checkpoint, append: Append) -> None:
        """Transcribe from the checkpoint on, with texts from the cache if it has them; append updates.

        Raises:
            TaskError: The recording or the engine failed, or the task asks for what cannot be done.
        """
        self.transcript.go_on_from(checkpoint)
        listen, language = self._first(checkpoint), checkpoint.language
        while True:
            known = await self._transcripts.find(self._recording.sha256, self._task, self._loaded, listen.channel)
            if known is not None and known.answers(listen):
                await self._append_all(known, known.texts_from(listen.start_at), append)
            else:
                await self._transcribe_anew(listen, language, append)
            if self.channel is None or self.channel + 1 >= self._channels:
                return
            listen, language = FindWindows(path=self._recording.path, channel=self.channel + 1), None

    def result(self) -> TranscriptionResult:
        """Build the task's result."""
        return self.transcript.result(
            duration=self.duration,
            model=self._loaded.model,
            source=Source.RECORDING,
            audio_sha256=self._recording.sha256,
            cached=self.cached,
        )

    def _first(self, checkpoint: Checkpoint) -> FindWindows:
        """Return the job of the listener with which the transcription goes on after the checkpoint.

        The listener does not choose channels if the task expects more speakers than a call has.
        """
        channel, start_at = checkpoint.channel, checkpoint.processed_seconds
        if channel is None and self._task.channels is Channels.SEPARATE:
            channel = 0
        crowded = self._task.diarize and (self._task.min_speakers or 0) > _PEOPLE_OF_A_CALL
        choose = self._task.channels is Channels.AUTO and channel is None and not start_at and not crowded
        return FindWindows(path=self._recording.path, start_at=start_at, channel=channel, choose=choose)

    async def _transcribe_anew(self, listen: FindWindows, language: str | None, append: Append) -> None:
        """Transcribe the recording, or one of its channels, with a run, and put the transcript into the cache.

        A transcript that does not begin at the start, or that a helper has helped with, is not cached.
        """
        source = RecordingWindows(self._engine, listen)
        run = TranscriptionRun(source.windows(), self._own, self._helpers, self._task.options, language)
        self.cached = False
        texts = await self._append_all(source, run.texts(), append)
        if listen.start_at or run.helped:  # nobody can prove who has answered as a helper
            return
        transcript = CachedTranscript(
            duration=self.duration, channels=self._channels, channel=self.channel, chosen=listen.choose, texts=texts
        )
        await self._recording.check()
        await self._transcripts.keep(self._recording.sha256, self._task, self._loaded, transcript)

    async def _append_all(
        self,
        source: RecordingWindows | CachedTranscript,
        found: AsyncGenerator[StageAdvanced | WindowText, None] | AsyncGenerator[WindowText, None],
        append: Append,
    ) -> list[WindowText]:
        """Append an update for each progress and text, and return the texts.

        The progress of each update counts over all channels.
        """
        texts: list[WindowText] = []
        async with aclosing(found):
            async for each in found:
                self._note(source)
                seconds = each.end if isinstance(each, WindowText) else each.processed_seconds
                stage = Stage.TRANSCRIBING if isinstance(each, WindowText) else each.stage
                update = processed(stage, seconds, self.duration, channel=self.channel, channels=self._channels)
                if isinstance(each, WindowText):
                    text = self.transcript.add(each)
                    append_or_merge(texts, text)
                    update = replace(update, text=text, audio_sha256=self._recording.sha256)
                await append(update)
        self._note(source)
        return texts

    def _note(self, source: RecordingWindows | CachedTranscript) -> None:
        """Copy the duration and the channels from the source to this object, and check the number of channels.

        Raises:
            PermanentError: invalid_message: the recording has too many channels to transcribe each on its own.
        """
        # The header of a later channel may give a shorter duration than what was read before.
        self.duration = max(self.duration, source.duration) if source.channel else source.duration
        self._channels, self.channel = source.channels, source.channel
        self.transcript.channels = self._channels if self.separate else None
        if self._task.channels is Channels.SEPARATE and self._channels > MOST_CHANNELS:
            message = (
                f"channels: the recording has {self._channels} channels, and up to {MOST_CHANNELS} can be transcribed"
                " each on its own: leave `channels` out to have all channels mixed."
            )
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
