"""The transcription of one recording, channel by channel, with texts from the cache or the engine; and its result."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import MAX_CHANNELS, Channels, Source, TranscriptionResult, TranscriptionTask

from app.engines.engine import Engine
from app.engines.messages import FindWindows, Loaded, StageAdvanced
from app.engines.windows import WindowText
from app.runtime.errors import PermanentError
from app.speech.recordings.cache import CachedTranscript, TranscriptCache
from app.speech.recordings.windows import RecordingWindows
from app.speech.redaction import Redactor
from app.speech.transcript import TaskTranscript
from app.speech.updates import Append, Checkpoint, NewText, Progress, processed
from app.speech.window_pipeline import WindowPipeline, WindowTranscriber, append_or_merge
from app.storage.recordings.recording import Recording

_SPEAKERS_OF_A_CALL = 2  # with more speakers, a channel may have several, which only diarization distinguishes


@dataclass(eq=False, slots=True, kw_only=True)
class Transcription:
    """Transcribes one recording: the mix of its channels, or one channel after the other.

    If the task has `channels: auto`, the engine chooses whether to mix the channels; an attempt that resumes from a
    checkpoint keeps the earlier choice.

    `engine`: detects the windows. `transcript`: the segments so far. `duration`: that of the recording in seconds; 0:
    not known yet. `own`: the window queue of this worker, whose engine has loaded the model `loaded`.
    `idle_workers`: workers without tasks of their own, which transcribe some of the windows; None: work sharing is off.
    `channel`: the channel that is transcribed; None: not known yet, or all are mixed. `cached`: whether everything so
    far came from the cache.
    """

    engine: Engine
    own: WindowTranscriber
    idle_workers: WindowTranscriber | None
    cache: TranscriptCache
    recording: Recording
    task: TranscriptionTask
    loaded: Loaded
    transcript: TaskTranscript = field(init=False)
    duration: float = field(default=0.0, init=False)
    channel: int | None = field(default=None, init=False)
    cached: bool = field(default=True, init=False)
    _channels: int = field(default=1, init=False)  # number of the recording's channels, once known

    def __post_init__(self) -> None:
        self.transcript = TaskTranscript(self.task)

    @property
    def separate(self) -> bool:
        """Whether each channel is transcribed on its own."""
        return self.channel is not None

    async def transcribe(self, checkpoint: Checkpoint, append: Append) -> None:
        """Transcribe the recording from the checkpoint on, and append progress and text to the task's log.

        If the cache contains the transcript of the recording, its texts are appended, and the engine transcribes
        nothing.

        Raises:
            TaskError: The recording or the engine failed, or the engine does not support what the task requests.
        """
        self.transcript.resume(checkpoint)
        job, language = self._first_job(checkpoint), checkpoint.language
        redactor = Redactor(self.task, checkpoint, self.engine)
        while True:
            cached = await self.cache.find(self.recording.sha256, self.task, self.loaded, job.channel)
            if cached is not None and cached.matches(job):
                redactor.number_after(entity for text in cached.texts for entity in text.entities)
                await self._append_all(cached, cached.texts_from(job.start_at), append)
            else:
                await self._run(job, language, redactor, append)
            if self.channel is None or self.channel + 1 >= self._channels:
                return
            job, language = FindWindows(path=self.recording.path, channel=self.channel + 1), None

    def result(self) -> TranscriptionResult:
        """Build the task's result; to be called when `transcribe` has returned."""
        return self.transcript.result(
            duration=self.duration,
            model=self.loaded.model,
            source=Source.RECORDING,
            audio_sha256=self.recording.sha256,
            cached=self.cached,
        )

    def _first_job(self, checkpoint: Checkpoint) -> FindWindows:
        """Return the engine job that detects the windows after the checkpoint.

        With `channels: auto`, the job lets the engine choose whether to mix the channels, unless the checkpoint
        contains text, or the task expects more than two speakers.
        """
        task, channel, start_at = self.task, checkpoint.channel, checkpoint.processed_seconds
        if channel is None and task.channels is Channels.SEPARATE:
            channel = 0
        crowded = task.diarize and (task.min_speakers or 0) > _SPEAKERS_OF_A_CALL
        choose = task.channels is Channels.AUTO and channel is None and not start_at and not crowded
        return FindWindows(path=self.recording.path, start_at=start_at, channel=channel, choose=choose)

    async def _run(self, job: FindWindows, language: str | None, redactor: Redactor, append: Append) -> None:
        """Transcribe the recording, or one of its channels, and cache the transcript.

        A transcript is not cached if it lacks the beginning of the recording, or if idle workers transcribed parts of
        it.
        """
        source = RecordingWindows(self.engine, job)
        run = WindowPipeline(source.windows(), self.own, self.idle_workers, self.task.options, language)
        self.cached = False
        texts = await self._append_all(source, redactor.recording(run.texts()), append)
        if job.start_at or run.used_idle_workers:  # the identity of an idle worker cannot be proven
            return
        transcript = CachedTranscript(
            duration=self.duration, channels=self._channels, channel=self.channel, chosen=job.choose, texts=texts
        )
        await self.recording.check()
        await self.cache.store(self.recording.sha256, self.task, self.loaded, transcript)

    async def _append_all(
        self,
        source: RecordingWindows | CachedTranscript,
        items: AsyncGenerator[StageAdvanced | WindowText, None] | AsyncGenerator[WindowText, None],
        append: Append,
    ) -> list[WindowText]:
        """Append all `items`, i.e. texts and reports of progress, to the task's log; return the texts.

        Successive texts are merged in the returned list, as by `append_or_merge`. `source`: where the items come from;
        it also has the duration and the channels of the recording.
        """
        texts: list[WindowText] = []
        async with aclosing(items):
            async for item in items:
                self._copy_channels(source)
                if isinstance(item, StageAdvanced):
                    await append(self._processed(item.stage, item.processed_seconds))
                    continue
                text = self.transcript.add(item)
                append_or_merge(texts, text)
                await append(NewText(text, self.recording.sha256))
                await append(self._processed(Stage.TRANSCRIBING, item.end))
        self._copy_channels(source)
        return texts

    def _processed(self, stage: Stage, seconds: float) -> Progress:
        return processed(stage, seconds, self.duration, channel=self.channel, channels=self._channels)

    def _copy_channels(self, source: RecordingWindows | CachedTranscript) -> None:
        """Copy the duration and the channels of the recording from `source`, and check the number of channels.

        Raises:
            PermanentError: invalid_message: the recording has too many channels to transcribe each on its own.
        """
        # The header of a later channel may give a shorter duration than what was read before.
        self.duration = max(self.duration, source.duration) if source.channel else source.duration
        self._channels, self.channel = source.channels, source.channel
        self.transcript.channels = self._channels if self.separate else None
        if self.task.channels is Channels.SEPARATE and self._channels > MAX_CHANNELS:
            message = (
                f"channels: the recording has {self._channels} channels, and up to {MAX_CHANNELS} can be transcribed"
                " each on its own: leave `channels` out to have all channels mixed."
            )
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
