"""The diarizer: a recording fetched, handed to the engine, and its turns made into a result."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from app.engines.messages import DiarizationDone, Diarize, StageAdvanced
from app.speech.pace import processed
from app.speech.recall import Recall
from app.speech.recordings import Recording, Recordings
from app.updates import News
from app.work_sharing.work_sharing import Sharing
from schemas.diarization import DiarizationResult, DiarizationTask


class EngineDiarizer:
    """Diarizes with the engine process."""

    def __init__(self, recordings: Recordings, recall: Recall, sharing: Sharing) -> None:
        self._recordings = recordings
        self._recall = recall
        self._sharing = sharing

    async def run(self, task: DiarizationTask) -> AsyncGenerator[News, None]:
        """Yield how far it is, the result last (TaskError)."""
        async with self._sharing.own_work(), self._recordings.fetch(task.audio_file_id) as recording:
            job = Diarize(path=recording.path, min_speakers=task.min_speakers, max_speakers=task.max_speakers)
            async with aclosing(self._recall.turns(task.task_id, recording, job)) as replies:
                async for reply in replies:
                    match reply:
                        case StageAdvanced():
                            yield processed(reply.stage, reply.processed_seconds, reply.duration_seconds)
                        case DiarizationDone():
                            yield _result(task, recording, reply)


def _result(task: DiarizationTask, recording: Recording, found: DiarizationDone) -> DiarizationResult:
    return DiarizationResult(
        task_id=task.task_id,
        audio_file_id=task.audio_file_id,
        user_id=task.user_id,
        speakers=len({turn.speaker for turn in found.turns}),
        segments=found.turns,
        duration=found.duration_seconds,
        model=found.model,
        audio_sha256=recording.sha256,
        cached=found.cached,
        created_at=datetime.now(UTC),
    )
