"""Tasks and results of either kind."""

from pydantic import ConfigDict, TypeAdapter

from .diarization import DiarizationResult, DiarizationTask
from .transcription import TranscriptionResult, TranscriptionTask
from .wire import Kind

Task = TranscriptionTask | DiarizationTask
Result = TranscriptionResult | DiarizationResult

TASKS: dict[Kind, type[TranscriptionTask] | type[DiarizationTask]] = {
    Kind.TRANSCRIPTION: TranscriptionTask,
    Kind.DIARIZATION: DiarizationTask,
}
RESULT: TypeAdapter[Result] = TypeAdapter(Result, config=ConfigDict(defer_build=True))
