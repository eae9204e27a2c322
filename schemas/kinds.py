"""Tasks and results of either kind."""

from pydantic import ConfigDict, TypeAdapter

from .diarization import DiarizationResult, DiarizationTask
from .live import LiveTask
from .transcription import TranscriptionResult, TranscriptionTask
from .wire import Lane

Task = TranscriptionTask | DiarizationTask | LiveTask
Result = TranscriptionResult | DiarizationResult

TASKS: dict[Lane, type[TranscriptionTask] | type[DiarizationTask] | type[LiveTask]] = {
    Lane.TRANSCRIPTION: TranscriptionTask,
    Lane.DIARIZATION: DiarizationTask,
    Lane.LIVE: LiveTask,
}
RESULT: TypeAdapter[Result] = TypeAdapter(Result, config=ConfigDict(defer_build=True))


def read_task(queue: Lane, body: bytes | str) -> Task:
    """Read a task that a service of any version has accepted; fields that only a later version knows are kept.

    Raises:
        ValueError: The task has a value that this version does not know.
    """
    return TASKS[queue].model_validate_json(body, extra="allow")
