"""A record of a task's log: the event, and the metadata that every record repeats."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
LATELY: Final = 256  # tasks: what every record repeats is written and read once


@dataclass(frozen=True, slots=True)
class Metadata:
    """What every record carries in its headers, so that the last one alone tells the task's status."""

    task: Task | None  # null: the message was invalid
    task_sequence: int  # of the task message that owns the log, in the task stream
    subject: str  # of the task message: its queue
    created_at: datetime
    started_at: datetime | None = None
    traceparent: str | None = None
    span: str | None = None  # of the delivery that wrote the record, as a `traceparent`

    def headers(self) -> dict[str, str]:
        """Write the metadata as message headers (ASCII)."""
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
        """Read the metadata back from message headers (ValueError)."""
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


@lru_cache(LATELY)
def _written(task: Task) -> str:
    return json.dumps(task.model_dump(mode="json"))


@lru_cache(LATELY)
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
    """One event as it lies in the log."""

    event: ProgressEvent
    metadata: Metadata
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Record":
        """Read a record as the stream holds it (ValueError)."""
        event = ProgressEvent.model_validate_json(message.data or b"")
        refuse_copy(message, event.task_id)
        return cls(event, Metadata.read(message.headers or {}), message.seq or 0)


class NoResult(BaseModel):
    """What is stored in place of a result: the task ends without one, and none can be stored any more."""

    task_id: TaskId
    error: ErrorDetail | None  # null: the task is cancelled


Outcome = TranscriptionResult | DiarizationResult | NoResult


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch of segments as it lies in the log."""

    event: SegmentsEvent
    audio_sha256: str
    stream_sequence: int
    task_sequence: int  # of the task message that it was found for: an id may be used again

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Batch":
        """Read a batch as the stream holds it (ValueError)."""
        event, headers = SegmentsEvent.model_validate_json(message.data or b""), message.headers or {}
        refuse_copy(message, event.task_id)
        return cls(event, headers.get(AUDIO_SHA256, ""), message.seq or 0, int(headers.get(TASK_SEQUENCE, "")))


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """An outcome as it lies in the stream of results."""

    outcome: Outcome
    task_sequence: int  # of the task message that it belongs to: an id may be used again
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "StoredOutcome":
        """Read a result, or what forbids one, as the stream holds it (ValueError)."""
        if (message.subject or "").startswith(subjects.no_results("")):
            outcome: Outcome = NoResult.model_validate_json(message.data or b"")
            refuse_copy(message, outcome.task_id)
        else:
            outcome = read_result(message)
        return cls(outcome, int((message.headers or {}).get(TASK_SEQUENCE, "")), message.seq or 0)


def end_of(outcome: Outcome) -> tuple[State, ErrorDetail | None]:
    """The state that a task with this outcome ends in, and its error."""
    if not isinstance(outcome, NoResult):
        return State.COMPLETED, None
    return (State.CANCELLED if outcome.error is None else State.FAILED), outcome.error


def read_result(message: RawStreamMsg) -> Result:
    """Read a result as the stream holds it (ValueError)."""
    result = RESULT.validate_json(message.data or b"")
    refuse_copy(message, result.task_id)
    return result


def refuse_copy(message: RawStreamMsg, task_id: str) -> None:
    """Refuse what was written for one task and lies in the log of another (ValueError).

    Whoever may read a log can ask the server for a record and name another log as the place for the answer.
    """
    if not (message.subject or "").endswith(f".{task_id}"):
        text = f"a message of task {task_id} at {message.subject}"
        raise ValueError(text)
