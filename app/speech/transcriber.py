"""The transcriber: transcribes a recording, and finds its speakers if the task asks for them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import (
    MOST_CHANNELS,
    Channels,
    Segment,
    Stretch,
    TranscriptionResult,
    TranscriptionTask,
)
from natscribe.schemas.wire import Model

from app.engines.cores import Cores, windows_at_once
from app.engines.engine import Engine
from app.engines.messages import Listen, StageAdvanced, Transcribe
from app.errors import PermanentError
from app.recordings.recording import REPLACED, Recording, Recordings
from app.settings import MOST_WINDOWS, Settings
from app.speech.attribution import attribute
from app.speech.diarizer import Diarizer, SpeakerSearch
from app.speech.missing_text import joined, with_missing_text
from app.speech.pipeline import BatchSizes, Pipeline, Transcribed
from app.speech.transcript_cache import Transcript, TranscriptCache
from app.updates import Checkpoint, Found, Result, Update, processed
from app.work_sharing.coordinator import WorkSharing

_PEOPLE_OF_A_CALL = 2  # with more people, a channel may have several, whom only diarization tells apart
DIARIZING_SHARE = 0.5  # share of diarization in the progress of a transcription task: both take about the same time


class Transcriber:
    """Transcribes with the engine, and attributes words to speakers if the task asks for speakers."""

    def __init__(  # noqa: PLR0913 -- all parts that a transcription needs
        self,
        recordings: Recordings,
        engine: Engine,
        transcripts: TranscriptCache,
        diarizer: Diarizer,
        sharing: WorkSharing,
        *,
        settings: Settings,
    ) -> None:
        self._recordings = recordings
        self._transcripts = transcripts
        self._diarizer = diarizer
        self._sharing = sharing
        self._threads = settings.engine_threads
        at_once = windows_at_once(settings.engine_parallel, settings.engine_threads)
        batches = BatchSizes(min(settings.engine_batch * at_once, MOST_WINDOWS), first=min(at_once, MOST_WINDOWS))
        self._pipeline = partial(Pipeline, engine, coordination=sharing.coordination, batches=batches)

    async def run(self, task: TranscriptionTask, checkpoint: Checkpoint) -> AsyncGenerator[Update | Result, None]:
        """Transcribe the recording of a task from the checkpoint on; yield updates, then the result.

        Raises:
            TaskError: The recording or the engine failed, or the task asks for what cannot be done.
        """
        async with self._sharing.own_work(), self._recordings.fetch(task.audio_file_id) as recording:
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)
            transcription = Transcription(self._pipeline, self._transcripts, recording, task)
            if task.diarize and checkpoint.diarization_error is None:
                updates = self._with_speakers(transcription, task, recording, checkpoint)
            else:
                updates = transcription.run(checkpoint)
            async with aclosing(updates):
                async for update in updates:
                    yield update
            await recording.check()
            yield await asyncio.to_thread(transcription.result)  # copying a day's segments would block the event loop

    async def _with_speakers(
        self, transcription: "Transcription", task: TranscriptionTask, recording: Recording, checkpoint: Checkpoint
    ) -> AsyncGenerator[Update, None]:
        """Transcribe, and find the speakers of the segments; if the search for speakers fails, keep the transcript.

        The search runs beside the transcription if cores are free. After a lost or failed attempt the search runs last,
        when all text is saved, because the search may have been the cause. With separate channels each channel is a
        speaker, and no search is needed.
        """
        beside = not (checkpoint.processed_seconds and checkpoint.after_trouble)
        cores = Cores()
        async with (
            aclosing(SpeakerSearch(self._diarizer.turns(task, recording))) as search,
            aclosing(transcription.run(checkpoint)) as updates,
        ):
            async for update in updates:
                yield update if transcription.separate else _with_search(update, search.fraction)
                begins = beside and not search.begun and not transcription.separate
                if begins and update.found and cores.free(self._threads):
                    search.begin()
            if transcription.separate:
                return
            yield _searching(search, 0.0, transcription.duration)
            async for progress in search.progress():
                yield _searching(search, progress.processed_seconds, progress.duration_seconds)
            if search.turns is not None:
                yield Update(Stage.MERGING, 1.0)
            await asyncio.to_thread(transcription.add_speakers, search)


def _with_search(update: Update, searched: float) -> Update:
    """Return the update with a fraction that counts both the transcription and the search for speakers."""
    return replace(update, fraction=(1 - DIARIZING_SHARE) * update.fraction + DIARIZING_SHARE * searched)


def _searching(search: SpeakerSearch, seconds: float, duration: float | None) -> Update:
    fraction = 1 - DIARIZING_SHARE + DIARIZING_SHARE * search.fraction
    return Update(Stage.DIARIZING, fraction, seconds, duration)


class Transcription:
    """The transcription of one recording: all channels mixed, or one channel after the other.

    With `channels: auto` the listener chooses; an attempt that goes on keeps the choice of the earlier attempts.
    `segments` and `untranscribed` hold what has been found so far, the checkpoint included.
    """

    def __init__(
        self,
        pipeline: Callable[[Listen, Transcribe], Pipeline],
        transcripts: TranscriptCache,
        recording: Recording,
        task: TranscriptionTask,
    ) -> None:
        self._pipeline = pipeline
        self._transcripts = transcripts
        self._recording = recording
        self._task = task
        self.segments: list[Segment] = []
        self.untranscribed: list[Stretch] = []
        self.duration = 0.0
        self.channels = 1  # number of the recording's channels, once known
        self.channel: int | None = None  # the channel that is transcribed, once known; null: all mixed
        self.cached = True  # whether everything so far came from the cache
        self.model: Model | None = None
        self._speakers: int | None = None
        self._diarization_error: ErrorDetail | None = None

    @property
    def separate(self) -> bool:
        """Whether each channel is transcribed on its own."""
        return self.channel is not None

    async def run(self, checkpoint: Checkpoint) -> AsyncGenerator[Update, None]:
        """Transcribe from the checkpoint on, and yield updates.

        Raises:
            TaskError: The recording or the engine failed, or the task asks for what cannot be done.
        """
        self.segments, self.untranscribed = list(checkpoint.segments), list(checkpoint.untranscribed)
        self._diarization_error = checkpoint.diarization_error if self._task.diarize else None
        channel = checkpoint.channel
        if channel is None and self._task.channels is Channels.SEPARATE:
            channel = 0
        start_at, language = checkpoint.processed_seconds, checkpoint.language
        crowded = self._task.diarize and (self._task.min_speakers or 0) > _PEOPLE_OF_A_CALL
        choose = self._task.channels is Channels.AUTO and channel is None and not start_at and not crowded
        while True:
            before = len(self.segments), len(self.untranscribed)
            listen = Listen(path=self._recording.path, start_at=start_at, channel=channel, choose=choose)
            source, replies = await self._source(listen, language)
            async with aclosing(replies):
                async for reply in replies:
                    self._note(source)
                    yield self._update(reply)
            self._note(source)
            if isinstance(source, Pipeline):
                self.cached = False
                if not start_at and not source.helped:  # nobody can prove who has answered as a helper
                    await self._keep(*before, chosen=choose)
            if self.channel is None or self.channel + 1 >= self.channels:
                return
            channel, start_at, language, choose = self.channel + 1, 0.0, None, False

    def add_speakers(self, search: SpeakerSearch) -> None:
        """Attribute the words to the speakers that a search has found, or note the error of a failed search."""
        self._diarization_error, self.cached = search.error, self.cached and search.cached
        if search.turns is not None:
            self.segments = attribute(self.segments, search.turns)
            self.untranscribed = with_missing_text(self.untranscribed, self.segments, search.turns)
            self._speakers = len({turn.speaker for turn in search.turns})

    def result(self) -> TranscriptionResult:
        """Build the task's result."""
        segments = self.segments
        if not self._task.word_timestamps:
            segments = [segment.model_copy(update={"words": None}) for segment in segments]
        if self.separate:
            segments = sorted(segments, key=lambda segment: segment.start)
            self._speakers = len({segment.channel for segment in segments})
        if self.model is None:
            message = "the engine ended without naming its model"
            raise RuntimeError(message)
        languages = _languages(segments)
        return TranscriptionResult(
            task_id=self._task.task_id,
            audio_file_id=self._task.audio_file_id,
            user_id=self._task.user_id,
            text=" ".join(segment.text for segment in segments),
            language=next(iter(languages), None),
            languages=languages,
            duration=self.duration,
            segments=segments,
            untranscribed=joined(self.untranscribed),  # two channels may have speech without text at the same time
            channels=self.channels if self.separate else None,
            speakers=self._speakers,
            diarization_error=self._diarization_error,
            model=self.model,
            audio_sha256=self._recording.sha256,
            cached=self.cached,
            created_at=datetime.now(UTC),
        )

    async def _source(
        self, listen: Listen, language: str | None
    ) -> tuple[Pipeline | Transcript, AsyncGenerator[StageAdvanced | Transcribed, None]]:
        """Return the cached transcript of a channel or else a pipeline, with its replies from `listen.start_at` on.

        `language` is the language spoken before `listen.start_at`.
        """
        known = await self._transcripts.find(self._recording.sha256, self._task, listen.channel)
        if known is not None and known.answers(listen):
            return known, known.replay(listen.start_at)
        pipeline = self._pipeline(listen, Transcribe(windows=[], options=self._task.options, previous=language))
        return pipeline, pipeline.run()

    async def _keep(self, first: int, first_untranscribed: int, *, chosen: bool) -> None:
        """Cache the transcript of the channel: segments from index `first` on, and untranscribed speech likewise."""
        if self.model is None:
            return
        transcript = Transcript(
            duration=self.duration,
            channels=self.channels,
            channel=self.channel,
            chosen=chosen,
            model=self.model,
            segments=self.segments[first:],
            untranscribed=self.untranscribed[first_untranscribed:],
        )
        await self._recording.check()
        await self._transcripts.keep(self._recording.sha256, self._task, transcript)

    def _note(self, source: Pipeline | Transcript) -> None:
        """Copy the duration, the model and the channels from the source.

        Raises:
            PermanentError: invalid_message: the recording has too many channels to transcribe each on its own.
        """
        self.duration, self.model = source.duration, source.model
        self.channels, self.channel = source.channels, source.channel
        if self._task.channels is Channels.SEPARATE and self.channels > MOST_CHANNELS:
            message = (
                f"channels: the recording has {self.channels} channels, and up to {MOST_CHANNELS} can be transcribed"
                " each on its own: leave `channels` out to have all channels mixed."
            )
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)

    def _found(self, reply: Transcribed) -> Found:
        segments, untranscribed = [self._wanted(each) for each in reply.segments], tuple(reply.untranscribed)
        self.segments += segments
        self.untranscribed += untranscribed
        return Found(
            reply.language,
            reply.processed_seconds,
            tuple(segments),
            self._recording.sha256,
            self.channel,
            untranscribed,
        )

    def _wanted(self, segment: Segment) -> Segment:
        """Fit a segment to the task: drop words that nobody needs; with separate channels, add the channel."""
        changed: dict[str, object] = {}
        if not (self._task.word_timestamps or self._task.diarize):
            changed["words"] = None
        if self.channel is not None:
            changed |= {"channel": self.channel, "speaker": f"SPEAKER_{self.channel:02}"}
        return segment.model_copy(update=changed)

    def _update(self, reply: StageAdvanced | Transcribed) -> Update:
        """Turn a reply into an update; with separate channels, count progress over all channels."""
        seconds, duration = reply.processed_seconds, reply.duration_seconds
        if self.channel is not None and duration is not None:
            seconds = (self.channel * duration + seconds) / self.channels
        if isinstance(reply, StageAdvanced):
            return processed(reply.stage, seconds, duration)
        return processed(Stage.TRANSCRIBING, seconds, duration, self._found(reply))


def _languages(segments: Sequence[Segment]) -> dict[str, float]:
    """Return the seconds of each language, most first."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.language is not None:
            seconds[segment.language] = seconds.get(segment.language, 0.0) + segment.end - segment.start
    return dict(sorted(seconds.items(), key=lambda each: -each[1]))
