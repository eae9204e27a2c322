"""The transcriber: a recording fetched, handed to the engine, and made into a result."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime

from app.engines.attribution import attribute
from app.engines.engine import Engine
from app.engines.messages import DiarizationDone, Diarize, Hear, Listen, StageAdvanced
from app.pace import processed
from app.recall import Recall, Transcript, TranscriptInOrder
from app.recordings import Recording, Recordings
from app.windows_in_order import Transcribed, WindowsInOrder
from handlers.errors import PermanentError, TaskError
from handlers.ports import Advanced, Checkpoint, Found, News
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
    """Transcribes with the engine process, and attributes words to speakers where asked to."""

    def __init__(self, recordings: Recordings, engine: Engine, recall: Recall) -> None:
        self._recordings = recordings
        self._engine = engine
        self._recall = recall

    async def run(self, task: TranscriptionTask, checkpoint: Checkpoint) -> AsyncGenerator[News, None]:
        """Yield what is found from the checkpoint on, the result last (TaskError)."""
        draft = _Draft(list(checkpoint.segments), checkpoint.language or task.language)
        draft.diarization_error = checkpoint.diarization_error if task.diarize else None
        diarize = task.diarize and draft.diarization_error is None
        async with self._recordings.fetch(task.audio_file_id) as recording:
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                message = "The recording was replaced while the task ran: publish it again under a new task id."
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, message)
            share = 1 - DIARIZING_SHARE if diarize else 1.0
            async with aclosing(self._transcribe(task, recording, checkpoint, draft)) as transcribing:
                async for news in transcribing:
                    yield _scaled(news, 0.0, share)
            if diarize:
                async with aclosing(self._diarize(task, recording, draft)) as diarizing:
                    async for news in diarizing:
                        yield _scaled(news, share, 1.0)
            yield _result(task, recording, draft)

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
        if windows.model is not None and not draft.cached:
            heard = Transcript(
                language=windows.language, duration=windows.duration, model=windows.model, segments=draft.segments
            )
            await self._recall.keep_transcript(recording.sha256, task, heard)

    async def _windows(
        self, task: TranscriptionTask, recording: Recording, checkpoint: Checkpoint, draft: _Draft
    ) -> WindowsInOrder | TranscriptInOrder:
        found = await self._recall.transcript(recording.sha256, task)
        if found is not None:
            return TranscriptInOrder(found, checkpoint.processed_seconds)
        words = task.word_timestamps or task.diarize
        hear = Hear(windows=[], model=task.model, language=draft.language, words=words)
        return WindowsInOrder(self._engine, Listen(path=recording.path, start_at=checkpoint.processed_seconds), hear)

    async def _diarize(
        self, task: TranscriptionTask, recording: Recording, draft: _Draft
    ) -> AsyncGenerator[News, None]:
        """Give the segments their speakers; whatever happens here, the transcript is kept."""
        job = Diarize(path=recording.path, min_speakers=task.min_speakers, max_speakers=task.max_speakers)
        try:
            async with aclosing(self._recall.turns(recording.sha256, job)) as replies:
                async for reply in replies:
                    match reply:
                        case StageAdvanced():
                            yield processed(Stage.DIARIZING, reply.processed_seconds, reply.duration_seconds)
                        case DiarizationDone():
                            yield Advanced(Stage.MERGING, 1.0)
                            draft.segments = attribute(draft.segments, reply.turns)
                            draft.cached = draft.cached and reply.cached
                            draft.speakers = len({turn.speaker for turn in reply.turns})
        except TaskError as error:
            draft.diarization_error, draft.cached = error.detail, False


def _scaled(news: News, begin: float, end: float) -> News:
    if not isinstance(news, Advanced):
        return news
    return Advanced(news.stage, begin + news.fraction * (end - begin), news.processed_seconds, news.duration_seconds)


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
