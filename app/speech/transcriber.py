"""The transcriber: a recording fetched, handed to the engine, and made into a result."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.engines.attribution import attribute
from app.engines.cores import Cores
from app.engines.engine import Engine
from app.engines.messages import Diarize, Listen, StageAdvanced, Transcribe
from app.settings import Settings
from app.sharing.sharing import Sharing
from app.speech.pace import processed
from app.speech.recall import Recall, Transcript, TranscriptInOrder
from app.speech.recordings import REPLACED, Recording, Recordings
from app.speech.speakers import SpeakerSearch
from app.speech.transcriber_pool import Transcribed
from app.speech.windows_in_order import WindowsInOrder
from handlers.errors import PermanentError
from handlers.ports import Advanced, Checkpoint, Fetched, Found, News
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import Stage
from schemas.transcription import Segment, TranscriptionResult, TranscriptionTask
from schemas.wire import Model

DIARIZING_SHARE = 0.5  # of a task that wants both: the bundled models take about the same time for each


@dataclass(slots=True)
class _Draft:
    """What is known of the result so far."""

    segments: list[Segment]
    language: str | None
    duration: float = 0.0
    model: Model | None = None
    speakers: int | None = None
    diarization_error: ErrorDetail | None = None
    cached: bool = False


class EngineTranscriber:
    """Transcribes with the engine, and attributes words to speakers where asked to."""

    def __init__(
        self, recordings: Recordings, engine: Engine, recall: Recall, sharing: Sharing, settings: Settings
    ) -> None:
        self._recordings = recordings
        self._engine = engine
        self._recall = recall
        self._sharing = sharing
        self._threads = settings.engine_threads
        self._batch = settings.engine_batch

    async def run(self, task: TranscriptionTask, checkpoint: Checkpoint) -> AsyncGenerator[News, None]:
        """Yield what is found from the checkpoint on, the result last (TaskError)."""
        draft = _Draft(list(checkpoint.segments), checkpoint.language or task.language)
        draft.diarization_error = checkpoint.diarization_error if task.diarize else None
        async with self._sharing.own_work(), self._recordings.fetch(task.audio_file_id) as recording:
            yield Fetched()
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)
            transcribing = self._transcribe(task, recording, checkpoint, draft)
            if task.diarize and draft.diarization_error is None:
                transcribing = self._with_speakers(transcribing, task, recording, checkpoint, draft)
            async with aclosing(transcribing):
                async for news in transcribing:
                    yield news
            await recording.check()
            yield await asyncio.to_thread(_result, task, recording, draft)  # a day has many segments to copy

    async def _transcribe(
        self, task: TranscriptionTask, recording: Recording, checkpoint: Checkpoint, draft: _Draft
    ) -> AsyncGenerator[News, None]:
        windows = await self._windows(task, recording, checkpoint, draft)
        async with aclosing(windows.run()) as replies:
            async for reply in replies:
                match reply:
                    case StageAdvanced():
                        yield processed(reply.stage, reply.processed_seconds, reply.duration_seconds)
                    case Transcribed():
                        draft.segments += reply.segments
                        yield Found(reply.language, reply.processed_seconds, tuple(reply.segments), recording.sha256)
                        yield processed(Stage.TRANSCRIBING, reply.processed_seconds, reply.duration_seconds)
        draft.language, draft.duration, draft.model = windows.language, windows.duration, windows.model
        draft.cached = isinstance(windows, TranscriptInOrder)
        whole = not checkpoint.processed_seconds  # what another attempt has heard may be another model's
        if windows.model is not None and whole and not draft.cached:
            heard = Transcript(
                language=windows.language, duration=windows.duration, model=windows.model, segments=draft.segments
            )
            await recording.check()
            await self._recall.keep_transcript(recording.sha256, task, heard)

    async def _windows(
        self, task: TranscriptionTask, recording: Recording, checkpoint: Checkpoint, draft: _Draft
    ) -> WindowsInOrder | TranscriptInOrder:
        found = await self._recall.transcript(recording.sha256, task)
        if found is not None:
            return TranscriptInOrder(found, checkpoint.processed_seconds)
        words = task.word_timestamps or task.diarize
        hear = Transcribe(windows=[], model=task.model, language=draft.language, words=words)
        listen = Listen(path=recording.path, start_at=checkpoint.processed_seconds)
        return WindowsInOrder(self._engine, listen, hear, self._sharing.lending, largest=self._batch)

    async def _with_speakers(
        self,
        transcribing: AsyncGenerator[News, None],
        task: TranscriptionTask,
        recording: Recording,
        checkpoint: Checkpoint,
        draft: _Draft,
    ) -> AsyncGenerator[News, None]:
        """Give the segments their speakers; whatever happens to that, the transcript is kept.

        An attempt that goes on after a lost one searches last, when all text is saved: the search may have been what
        it died of. One that goes on after a worker that was stopped does not.
        """
        beside = not (checkpoint.processed_seconds and checkpoint.after_trouble)
        cores = Cores()
        job = Diarize(path=recording.path, min_speakers=task.min_speakers, max_speakers=task.max_speakers)
        async with (
            SpeakerSearch(self._recall.turns(task.task_id, recording, job)) as search,
            aclosing(transcribing),
        ):
            async for news in transcribing:
                yield _with_search(news, search.fraction)
                if beside and not search.begun and isinstance(news, Found) and cores.free(self._threads):
                    search.begin()
            yield _searching(search, 0.0, draft.duration)
            async for told in search.news():
                yield _searching(search, told.processed_seconds, told.duration_seconds)
            draft.diarization_error, draft.cached = search.error, draft.cached and search.cached
            if search.turns is not None:
                yield Advanced(Stage.MERGING, 1.0)
                draft.segments = await asyncio.to_thread(attribute, draft.segments, search.turns)
                draft.speakers = len({turn.speaker for turn in search.turns})


def _with_search(news: News, searched: float) -> News:
    """Both halves of the work count, whichever goes on at the moment."""
    if not isinstance(news, Advanced):
        return news
    return replace(news, fraction=(1 - DIARIZING_SHARE) * news.fraction + DIARIZING_SHARE * searched)


def _searching(search: SpeakerSearch, seconds: float, duration: float | None) -> Advanced:
    fraction = 1 - DIARIZING_SHARE + DIARIZING_SHARE * search.fraction
    return Advanced(Stage.DIARIZING, fraction, seconds, duration)


def _result(task: TranscriptionTask, recording: Recording, draft: _Draft) -> TranscriptionResult:
    segments = draft.segments
    if not task.word_timestamps:
        segments = [segment.model_copy(update={"words": None}) for segment in segments]
    if draft.model is None:
        message = "the engine ended without naming its model"
        raise RuntimeError(message)
    return TranscriptionResult(
        task_id=task.task_id,
        audio_file_id=task.audio_file_id,
        user_id=task.user_id,
        text=" ".join(segment.text for segment in segments),
        language=draft.language,
        duration=draft.duration,
        segments=segments,
        speakers=draft.speakers,
        diarization_error=draft.diarization_error,
        model=draft.model,
        audio_sha256=recording.sha256,
        cached=draft.cached,
        created_at=datetime.now(UTC),
    )
