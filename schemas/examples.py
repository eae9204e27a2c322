"""The examples in the AsyncAPI document, read from `examples.json`: messages about one meeting and one interview."""

from pathlib import Path
from typing import Final

from pydantic import BaseModel, TypeAdapter

from .diarization import DiarizationResult
from .transcription import SegmentsEvent, TranscriptionResult
from .voices import Voice
from .workers import WorkerInfo


class Example(BaseModel):
    """An example of a message: its payload, or the headers of a live audio frame."""

    name: str
    summary: str
    payload: dict[str, object] | str | None = None
    headers: dict[str, str] | None = None


_BY_MESSAGE: Final = TypeAdapter(dict[str, tuple[Example, ...]])
EXAMPLES: Final = _BY_MESSAGE.validate_json(Path(__file__).with_name("examples.json").read_bytes())

RESULT: Final = TranscriptionResult.model_validate(EXAMPLES["TranscriptionResult"][0].payload)
SEGMENT: Final = SegmentsEvent.model_validate(EXAMPLES["SegmentsEvent"][0].payload).segments[0]
TURNS: Final = DiarizationResult.model_validate(EXAMPLES["DiarizationResult"][0].payload)
VOICE: Final = Voice.model_validate(EXAMPLES["Voice"][0].payload)
WORKER_INFO: Final = WorkerInfo.model_validate(EXAMPLES["WorkerInfo"][0].payload)
