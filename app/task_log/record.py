"""A record of a task's log: the event, and the metadata that every record repeats."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from nats.js.api import RawStreamMsg
from pydantic import TypeAdapter

from app.updates import Task
from schemas import headers as names
from schemas import subjects
from schemas.diarization import DiarizationTask
from schemas.progress import ProgressEvent
from schemas.transcription import TranscriptionTask
from schemas.wire import Kind

TASKS: Final[dict[Kind, TypeAdapter[Task]]] = {
    Kind.TRANSCRIPTION: TypeAdapter(TranscriptionTask),
    Kind.DIARIZATION: TypeAdapter(DiarizationTask),
}

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


def refuse_copy(message: RawStreamMsg, task_id: str) -> None:
    """Refuse what was written for one task and lies in the log of another (ValueError).

    Whoever may read a log can ask the server for a record and name another log as the place for the answer.
    """
    if not (message.subject or "").endswith(f".{task_id}"):
        text = f"a message of task {task_id} at {message.subject}"
        raise ValueError(text)
