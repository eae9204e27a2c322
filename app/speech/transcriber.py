"""The transcriber: a recording fetched, handed to the engine, and made into a result."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from app.engines.attribution import attribute
from app.engines.cores import Cores, windows_at_once
from app.engines.engine import Engine
from app.engines.messages import Diarize
from app.errors import PermanentError
from app.settings import MOST_WINDOWS, Settings
from app.speech.recall import Recall
from app.speech.recordings import REPLACED, Recording, Recordings
from app.speech.speakers import SpeakerSearch
from app.speech.transcriber_pool import BatchSizes
from app.speech.transcription_run import TranscriptionRun
from app.updates import Advanced, Checkpoint, Found, News
from app.work_sharing.work_sharing import Sharing
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import Stage
from schemas.transcription import Segment, TranscriptionResult, TranscriptionTask

DIARIZING_SHARE = 0.5  # of a task that wants both: the bundled models take about the same time for each


@dataclass(slots=True)
class _Speakers:
    """What is known of the speakers."""

    count: int | None = None
    error: ErrorDetail | None = None
    cached: bool = True  # whether they had not to be looked for


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
        at_once = windows_at_once(settings.engine_parallel, settings.engine_threads)
        self._batches = BatchSizes(min(settings.engine_batch * at_once, MOST_WINDOWS), first=min(at_once, MOST_WINDOWS))

    async def run(self, task: TranscriptionTask, checkpoint: Checkpoint) -> AsyncGenerator[News, None]:
        """Yield what is found from the checkpoint on, the result last (TaskError)."""
        speakers = _Speakers(error=checkpoint.diarization_error if task.diarize else None)
        async with self._sharing.own_work(), self._recordings.fetch(task.audio_file_id) as recording:
            if checkpoint.audio_sha256 not in {None, recording.sha256}:
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)
            lending = self._sharing.lending
            run = TranscriptionRun(self._engine, self._recall, lending, recording, task, batches=self._batches)
            if task.diarize and speakers.error is None:
                working = self._with_speakers(run, task, recording, checkpoint, speakers)
            else:
                working = run.news(checkpoint)
            async with aclosing(working):
                async for news in working:
                    yield news
            await recording.check()
            # a day has many segments to copy
            yield await asyncio.to_thread(_result, task, recording, run, speakers)

    async def _with_speakers(
        self,
        run: TranscriptionRun,
        task: TranscriptionTask,
        recording: Recording,
        checkpoint: Checkpoint,
        speakers: _Speakers,
    ) -> AsyncGenerator[Advanced | Found, None]:
        """Give the segments their speakers; whatever happens to that, the transcript is kept.

        An attempt that goes on after a lost one searches last, when all text is saved: the search may have been what
        it died of. One that goes on after a worker that was stopped does not. Where each channel is a speaker, nobody
        is searched for.
        """
        beside = not (checkpoint.processed_seconds and checkpoint.after_trouble)
        cores = Cores()
        job = Diarize(path=recording.path, min_speakers=task.min_speakers, max_speakers=task.max_speakers)
        async with (
            SpeakerSearch(self._recall.turns(task.task_id, recording, job)) as search,
            aclosing(run.news(checkpoint)) as transcribing,
        ):
            async for news in transcribing:
                yield news if run.separate else _with_search(news, search.fraction)
                begins = beside and not search.begun and not run.separate
                if begins and isinstance(news, Found) and cores.free(self._threads):
                    search.begin()
            if run.separate:
                return
            yield _searching(search, 0.0, run.duration)
            async for told in search.news():
                yield _searching(search, told.processed_seconds, told.duration_seconds)
            speakers.error, speakers.cached = search.error, search.cached
            if search.turns is not None:
                yield Advanced(Stage.MERGING, 1.0)
                run.segments = await asyncio.to_thread(attribute, run.segments, search.turns)
                speakers.count = len({turn.speaker for turn in search.turns})


def _with_search(news: Advanced | Found, searched: float) -> Advanced | Found:
    """Both halves of the work count, whichever goes on at the moment."""
    if not isinstance(news, Advanced):
        return news
    return replace(news, fraction=(1 - DIARIZING_SHARE) * news.fraction + DIARIZING_SHARE * searched)


def _searching(search: SpeakerSearch, seconds: float, duration: float | None) -> Advanced:
    fraction = 1 - DIARIZING_SHARE + DIARIZING_SHARE * search.fraction
    return Advanced(Stage.DIARIZING, fraction, seconds, duration)


def _result(
    task: TranscriptionTask, recording: Recording, run: TranscriptionRun, speakers: _Speakers
) -> TranscriptionResult:
    segments = run.segments
    if not task.word_timestamps:
        segments = [segment.model_copy(update={"words": None}) for segment in segments]
    if run.separate:
        segments = sorted(segments, key=lambda segment: segment.start)
        speakers.count = len({segment.channel for segment in segments})
    if run.model is None:
        message = "the engine ended without naming its model"
        raise RuntimeError(message)
    languages = _languages(segments)
    return TranscriptionResult(
        task_id=task.task_id,
        audio_file_id=task.audio_file_id,
        user_id=task.user_id,
        text=" ".join(segment.text for segment in segments),
        language=next(iter(languages), None),
        languages=languages,
        duration=run.duration,
        segments=segments,
        untranscribed=sorted(run.untranscribed, key=lambda stretch: stretch.start),
        channels=run.channels if run.separate else None,
        speakers=speakers.count,
        diarization_error=speakers.error,
        model=run.model,
        audio_sha256=recording.sha256,
        cached=run.cached and speakers.cached,
        created_at=datetime.now(UTC),
    )


def _languages(segments: Sequence[Segment]) -> dict[str, float]:
    """The seconds of each language, the largest first."""
    seconds: dict[str, float] = {}
    for segment in segments:
        if segment.language is not None:
            seconds[segment.language] = seconds.get(segment.language, 0.0) + segment.end - segment.start
    return dict(sorted(seconds.items(), key=lambda each: -each[1]))
