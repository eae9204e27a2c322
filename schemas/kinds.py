"""The union types of all tasks and of all results."""

from collections.abc import Mapping
from datetime import datetime

from pydantic import ConfigDict, TypeAdapter

from .diarization import DiarizationResult, DiarizationTask
from .live import LiveTask
from .task_fields import RecordingTaskFields
from .transcription import TranscriptionResult, TranscriptionTask
from .wire import TaskType

Task = TranscriptionTask | DiarizationTask | LiveTask
Result = TranscriptionResult | DiarizationResult

TASKS: dict[TaskType, type[TranscriptionTask] | type[DiarizationTask] | type[LiveTask]] = {
    TaskType.TRANSCRIPTION: TranscriptionTask,
    TaskType.DIARIZATION: DiarizationTask,
    TaskType.LIVE: LiveTask,
}
RESULT: TypeAdapter[Result] = TypeAdapter(Result, config=ConfigDict(defer_build=True))


def read_task(task_type: TaskType, body: bytes | str) -> Task:
    """Parse a task that the service, in whatever version, has accepted; fields of later versions are preserved.

    Raises:
        ValueError: The task has a value that this version does not support.
    """
    return TASKS[task_type].model_validate_json(body, extra="allow")


def due_at(task: Task | None, stored_at: datetime) -> datetime:
    """Return the time from which a task may start: when its message was stored, or its `not_before` if that is later.

    `task`: None if the message is not a valid task. `stored_at`: when the message was stored.
    """
    not_before = task.not_before if isinstance(task, RecordingTaskFields) else None
    return stored_at if not_before is None else max(stored_at, not_before)


def with_current_names(result: Result, names: Mapping[str, str]) -> Result:
    """Return a copy of a result with the current names of its identified speakers: stored results have no names.

    `names`: the name of each of the user's enrolled voices, by the id of the voice. A speaker whose voice was not
    recognized, or was deleted since, is named UNKNOWN_SPEAKER.
    """
    if not result.voices:
        return result
    voices = {label: voice.with_current_name(names) for label, voice in result.voices.items()}
    return result.model_copy(update={"voices": voices})
