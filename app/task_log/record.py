"""What the streams hold of a task: records with their metadata, batches of segments, the outcome."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from nats.js.api import RawStreamMsg
from pydantic import BaseModel, TypeAdapter

from app.updates import Result, Task
from schemas import headers as names
from schemas import subjects
from schemas.diarization import DiarizationResult, DiarizationTask
from schemas.errors import ErrorDetail
from schemas.headers import AUDIO_SHA256, TASK_SEQUENCE
from schemas.progress import ProgressEvent, State
from schemas.transcription import SegmentsEvent, TranscriptionResult, TranscriptionTask
from schemas.wire import Kind, TaskId

TASKS: Final[dict[Kind, TypeAdapter[Task]]] = {
    Kind.TRANSCRIPTION: TypeAdapter(TranscriptionTask),
    Kind.DIARIZATION: TypeAdapter(DiarizationTask),
}

RESULT: Final[TypeAdapter[Result]] = TypeAdapter(Result)
CACHED_TASKS: Final = 256  # every record repeats its task, which is written and read once


@dataclass(frozen=True, slots=True)
class Metadata:
    """What every record has in its headers, so that the last record alone tells the task's status."""

    task: Task | None  # None: the message was invalid
    task_sequence: int  # of the message that owns the log, in the task stream
    subject: str  # of the message: its queue
    created_at: datetime
    started_at: datetime | None = None
    traceparent: str | None = None
    span: str | None = None  # of the delivery that appended the record, as a `traceparent`

    def is_older_than(self, other: "Metadata") -> bool:
        """Whether it is of an earlier task; a new task stream counts its messages from 1 again."""
        return (self.created_at, self.task_sequence) < (other.created_at, other.task_sequence)

    def headers(self) -> dict[str, str]:
        """Write the metadata as message headers, in ASCII."""
        found = {
            names.TASK: _written(self.task) if self.task else None,
            names.TASK_SEQUENCE: str(self.task_sequence),
            names.TASK_SUBJECT: self.subject,
            names.CREATED_AT: self.created_at.isoformat(),
            names.STARTED_AT: self.started_at.isoformat() if self.started_at else None,
            names.SPAN: self.span,
            names.TRACEPARENT: self.traceparent,
        }
        return {name: value for name, value in found.items() if value is not None}

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Metadata":
        """Read the metadata from message headers.

        Raises:
            ValueError: The service did not write them.
        """
        task, started_at = headers.get(names.TASK), headers.get(names.STARTED_AT)
        try:
            subject = headers[names.TASK_SUBJECT]
            return cls(
                task=_read(subjects.kind_of(subject), task) if task else None,
                task_sequence=int(headers[names.TASK_SEQUENCE]),
                subject=subject,
                created_at=_time(headers[names.CREATED_AT]),
                started_at=_time(started_at) if started_at else None,
                traceparent=headers.get(names.TRACEPARENT),
                span=headers.get(names.SPAN),
            )
        except LookupError as error:
            message = "a message without the service's own headers"
            raise ValueError(message) from error


@lru_cache(CACHED_TASKS)
def _written(task: Task) -> str:
    return json.dumps(task.model_dump(mode="json"))


@lru_cache(CACHED_TASKS)
def _read(kind: Kind, text: str) -> Task:
    return TASKS[kind].validate_json(text)


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        message = "a time without its zone"
        raise ValueError(message)
    return time


@dataclass(frozen=True, slots=True)
class Record:
    """One event in a task's log."""

    event: ProgressEvent
    metadata: Metadata
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Record":
        """Read a record from its message.

        Raises:
            ValueError: The service did not write it.
        """
        event = ProgressEvent.model_validate_json(message.data or b"")
        refuse_copy(message, event.task_id)
        return cls(event, Metadata.read(message.headers or {}), message.seq or 0)


class NoResult(BaseModel):
    """Stored in place of a result, which it forbids: the task ends without one."""

    task_id: TaskId
    error: ErrorDetail | None  # None: the task was cancelled


Outcome = TranscriptionResult | DiarizationResult | NoResult


def next_event(last: ProgressEvent, state: State, **fields: object) -> ProgressEvent:
    """The event that follows another one in a task's log, with these fields beside those of every event."""
    repeated = {name: getattr(last, name) for name in ("task_id", "kind", "attempt", "max_attempts")}
    added = {"state": state, "sequence": last.sequence + 1, "time": datetime.now(UTC)}
    return ProgressEvent.model_validate(repeated | fields | added)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of segments in a task's log of segments."""

    event: SegmentsEvent
    audio_sha256: str
    stream_sequence: int
    task_sequence: int  # of the message of its task: an id may be used again

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Batch":
        """Read a batch from its message.

        Raises:
            ValueError: The service did not write it.
        """
        event, headers = SegmentsEvent.model_validate_json(message.data or b""), message.headers or {}
        refuse_copy(message, event.task_id)
        return cls(event, headers.get(AUDIO_SHA256, ""), message.seq or 0, int(headers.get(TASK_SEQUENCE, "")))


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The outcome of a task in the stream of results."""

    outcome: Outcome
    metadata: Metadata  # of its task: an id may be used again
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "StoredOutcome":
        """Read an outcome from its message.

        Raises:
            ValueError: The service did not write it.
        """
        if (message.subject or "").startswith(subjects.no_results("")):
            outcome: Outcome = NoResult.model_validate_json(message.data or b"")
            refuse_copy(message, outcome.task_id)
        else:
            outcome = read_result(message)
        return cls(outcome, Metadata.read(message.headers or {}), message.seq or 0)


def end_of(outcome: Outcome) -> tuple[State, ErrorDetail | None]:
    """The state in which a task with this outcome ends, and its error."""
    if not isinstance(outcome, NoResult):
        return State.COMPLETED, None
    return (State.CANCELLED if outcome.error is None else State.FAILED), outcome.error


def read_result(message: RawStreamMsg) -> Result:
    """Read a result from its message.

    Raises:
        ValueError: The service did not write it.
    """
    result = RESULT.validate_json(message.data or b"")
    refuse_copy(message, result.task_id)
    return result


def refuse_copy(message: RawStreamMsg, task_id: str) -> None:
    """Refuse a message of one task in the log of another.

    A client that may read a log can ask the server for a record, and name another log as the subject of the answer.

    Raises:
        ValueError: The message is of another task.
    """
    if not (message.subject or "").endswith(f".{task_id}"):
        text = f"a message of task {task_id} at {message.subject}"
        raise ValueError(text)
