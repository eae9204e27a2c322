"""Tasks and results of either kind."""

from pydantic import ConfigDict, TypeAdapter

from . import subjects
from .diarization import DiarizationResult, DiarizationTask
from .live import LiveTask
from .transcription import TranscriptionResult, TranscriptionTask
from .wire import Kind

Task = TranscriptionTask | DiarizationTask | LiveTask
Result = TranscriptionResult | DiarizationResult

TASKS: dict[Kind, type[TranscriptionTask] | type[DiarizationTask]] = {
    Kind.TRANSCRIPTION: TranscriptionTask,
    Kind.DIARIZATION: DiarizationTask,
}
RESULT: TypeAdapter[Result] = TypeAdapter(Result, config=ConfigDict(defer_build=True))


def task_type(subject: str) -> type[Task]:
    """Return the type of the tasks on a subject.

    Raises:
        ValueError: The subject is no subject of tasks.
    """
    kind, _ = subjects.queue_of(subject)
    return LiveTask if subjects.is_live(subject) else TASKS[kind]
