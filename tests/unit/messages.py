"""Messages of the service for unit tests: each function fills in the fields that a test does not name."""

from datetime import UTC, datetime

from natscribe.schemas.examples import RESULT, SEGMENT
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.task_list import ListedTask
from natscribe.schemas.task_queues import QueueOverview, QueueStatus
from natscribe.schemas.transcription import Segment, SegmentsEvent, TranscriptionResult
from natscribe.schemas.wire import Kind, Priority, TaskType

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
TASK = {"task_id": "t1", "kind": Kind.TRANSCRIPTION, "state": State.RUNNING, "attempt": 1, "progress": 0}


def progress_event(**fields: object) -> ProgressEvent:
    """Return an event of a running task."""
    return ProgressEvent.model_validate(TASK | {"max_attempts": 4, "sequence": 2, "time": NOON} | fields)


def task_status(**fields: object) -> TaskStatus:
    """Return the status of a running task."""
    return TaskStatus.model_validate(TASK | {"task": None, "priority": Priority.NORMAL, "created_at": NOON} | fields)


def listed_task(**fields: object) -> ListedTask:
    """Return the entry of a running task in a list."""
    listed = {"priority": Priority.NORMAL, "user_id": 7, "audio_file_id": "meeting.flac", "created_at": NOON}
    return ListedTask.model_validate(TASK | listed | fields)


def queue_overview(dead_letters: int = 0, **fields: object) -> QueueOverview:
    """Return nine queues with the same fields."""
    queues = [
        QueueStatus.model_validate({"queue": task_type, "kind": task_type.kind, "priority": priority} | fields)
        for priority in Priority
        for task_type in TaskType
    ]
    return QueueOverview(queues=queues, dead_letters=dead_letters)


def segment(start: float, text: str, speaker: str | None = None, end: float | None = None) -> Segment:
    """Return a segment, by default of one second."""
    times = {"start": start, "end": start + 1 if end is None else end}
    return SEGMENT.model_copy(update=times | {"text": text, "speaker": speaker, "words": None})


def segments_event(*segments: Segment, channel: int | None = None) -> SegmentsEvent:
    """Return an event with these segments."""
    return SegmentsEvent(
        task_id="t1",
        attempt=1,
        sequence=1,
        language="en",
        processed_seconds=9,
        segments=list(segments),
        channel=channel,
    )


def result_of(*segments: Segment) -> TranscriptionResult:
    """Return a result with these segments."""
    text = " ".join(segment.text for segment in segments)
    return RESULT.model_copy(update={"text": text, "segments": list(segments), "speakers": None})
