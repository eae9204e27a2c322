"""The types of tasks and results."""

from collections.abc import Mapping

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


def read_task(lane: Lane, body: bytes | str) -> Task:
    """Read a task that any version of the service has accepted; fields of later versions are preserved.

    Raises:
        ValueError: The task has a value that this version does not support.
    """
    return TASKS[lane].model_validate_json(body, extra="allow")


def needs_speaker_search(task: TranscriptionTask | LiveTask, *, separate: bool) -> bool:
    """Whether the speakers of a transcript have to be searched for; `separate`: each channel is transcribed alone.

    A separate channel is a speaker already, so only `identify` needs a search.
    """
    return task.diarize and (task.identify or not separate)


def with_current_names(result: Result, names: Mapping[str, str]) -> Result:
    """Return a stored result with the names of its voices; `names` has the current name of each voice by its id.

    A speaker without a voice, or whose voice was forgotten and has no name, is named UNKNOWN_SPEAKER.
    """
    if not result.voices:
        return result
    voices = {label: voice.with_current_name(names) for label, voice in result.voices.items()}
    return result.model_copy(update={"voices": voices})
