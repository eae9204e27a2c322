"""Builders of messages: each has values for all fields of which a test says nothing."""

from datetime import UTC, datetime

from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.wire import Kind

from tests.fakes.engine import MODEL


def event(state: State = State.QUEUED, sequence: int = 1, **fields: object) -> ProgressEvent:
    """Return an event of the transcription task `t1`, which happened just now."""
    defaults = {"task_id": "t1", "kind": Kind.TRANSCRIPTION, "max_attempts": 4, "time": datetime.now(UTC)}
    return ProgressEvent.model_validate(defaults | {"state": state, "sequence": sequence} | fields)


def transcript(text: str = "one two", **fields: object) -> TranscriptionResult:
    """Return a result of the transcription task `t1`, without segments."""
    defaults = {
        "task_id": "t1",
        "audio_file_id": "meeting.flac",
        "user_id": 7,
        "language": "en",
        "duration": 10,
        "segments": [],
        "model": MODEL,
        "audio_sha256": "0" * 64,
        "created_at": datetime.now(UTC),
    }
    return TranscriptionResult.model_validate(defaults | {"text": text} | fields)
