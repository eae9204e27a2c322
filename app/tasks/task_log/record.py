"""The messages that JetStream stores about a task: records of its log, segments, speakers and outcomes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from nats.js.api import RawStreamMsg
from natscribe.schemas import headers as names
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.headers import AUDIO_SHA256
from natscribe.schemas.kinds import RESULT, Result, Task, read_task
from natscribe.schemas.live import SpeakersEvent
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import TaskStatus, status_of
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import TaskId, TaskType
from pydantic import BaseModel

CACHED_TASKS: Final = 256  # every record contains its task, so serialized and parsed tasks are cached
TIMES_DIFFER_BY: Final = timedelta(milliseconds=1)  # of one message in a delivery and in a read


@dataclass(frozen=True, slots=True)
class TaskMessageId:
    """Identifies a task message in the task stream; logs, outcomes and objects belong to one task message.

    A task id is not enough, because a later message may have the same task id. Nor is a stream sequence, because a
    recreated task stream counts its messages from 1 again.
    """

    created_at: datetime  # when the task stream stored the message
    task_sequence: int  # stream sequence of the task message

    def is_same_as(self, other: "TaskMessageId") -> bool:
        """Return whether this id and `other` identify the same task message."""
        same_time = abs(self.created_at - other.created_at) < TIMES_DIFFER_BY
        return same_time and self.task_sequence == other.task_sequence

    def is_older_than(self, other: "TaskMessageId") -> bool:
        """Return whether this id's task message was stored before that of `other`."""
        earlier = (self.created_at, self.task_sequence) < (other.created_at, other.task_sequence)
        return earlier and not self.is_same_as(other)


@dataclass(frozen=True, slots=True)
class Metadata:
    """The description of a task that the service writes into the headers of every message about the task.

    So the status of a task can be read from the last record of its log alone. A later version of the service may add
    fields to `task`, which is stored in one header, but must not add headers: a worker of this version would not copy
    them to the next record.
    """

    task: Task | None  # None: the task message was invalid
    task_sequence: int  # stream sequence of the task message that owns the log
    subject: str  # subject of the task message: its task queue
    created_at: datetime  # when the task message was stored
    started_at: datetime | None = None  # when the first attempt started; None: not yet
    traceparent: str | None = None  # W3C Trace Context of the task's publisher
    span: str | None = None  # span of the delivery that appended the record, as a `traceparent`
    audio_offset: str | None = None  # of segments of a live task: the frame from which another worker resumes

    @property
    def owner(self) -> TaskMessageId:
        """The id of the task message to which the log belongs.

        Another message may have the same task id, but its events are not appended to this log.
        """
        return TaskMessageId(self.created_at, self.task_sequence)

    def headers(self) -> dict[str, str]:
        """Return the metadata as NATS headers, in ASCII."""
        values = {
            names.TASK: _serialized(self.task) if self.task else None,
            names.TASK_SEQUENCE: str(self.task_sequence),
            names.TASK_SUBJECT: self.subject,
            names.CREATED_AT: self.created_at.isoformat(),
            names.STARTED_AT: self.started_at.isoformat() if self.started_at else None,
            names.SPAN: self.span,
            names.TRACEPARENT: self.traceparent,
            names.AUDIO_OFFSET: self.audio_offset,
        }
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "Metadata":
        """Parse the metadata from NATS headers.

        Raises:
            LookupError, ValueError: Another version of the service has written these headers.
        """
        task, started_at = headers.get(names.TASK), headers.get(names.STARTED_AT)
        subject = headers[names.TASK_SUBJECT]
        task_type, _ = subjects.queue_of(subject)
        return cls(
            task=_parsed(task_type, task) if task else None,
            task_sequence=int(headers[names.TASK_SEQUENCE]),
            subject=subject,
            created_at=_time(headers[names.CREATED_AT]),
            started_at=_time(started_at) if started_at else None,
            traceparent=headers.get(names.TRACEPARENT),
            span=headers.get(names.SPAN),
            audio_offset=headers.get(names.AUDIO_OFFSET),
        )


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:  # it could be compared with no other time
        raise ValueError(text)
    return time


@lru_cache(CACHED_TASKS)
def _serialized(task: Task) -> str:
    return json.dumps(task.model_dump(mode="json"))


@lru_cache(CACHED_TASKS)
def _parsed(task_type: TaskType, text: str) -> Task:
    return read_task(task_type, text)


@dataclass(frozen=True, slots=True)
class Record:
    """One message of a task log: an event, its metadata and its stream sequence."""

    event: ProgressEvent
    metadata: Metadata
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "Record":
        """Parse a message of a task log.

        Raises:
            LookupError, ValueError: Another version of the service has written this message.
        """
        event = ProgressEvent.model_validate_json(message.data or b"")
        State(event.state.value)  # no worker may continue a log whose last state it does not know
        return cls(event, Metadata.read(message.headers or {}), message.seq or 0)

    @property
    def status(self) -> TaskStatus:
        """The status of the task whose log ends with this record."""
        task, created_at, started_at = self.metadata.task, self.metadata.created_at, self.metadata.started_at
        _, priority = subjects.queue_of(self.metadata.subject)
        return status_of(self.event, task, priority, created_at=created_at, started_at=started_at)


class NoResult(BaseModel):
    """The outcome of a task that ends without a result, because it failed or was cancelled.

    It prevents a slow worker from storing a result later. It may be replaced only once the task's log continues, i.e.
    has a record after the one with the stream sequence `after`.
    """

    task_id: TaskId
    after: int  # stream sequence of the log's last record when this outcome was stored
    error: ErrorDetail | None  # None: the task was cancelled


Outcome = Result | NoResult


@dataclass(frozen=True, slots=True)
class SegmentsMessage:
    """A message on `segments.<task_id>`: some of the segments of a task, with metadata about the task."""

    event: SegmentsEvent
    audio_sha256: str
    stream_sequence: int
    metadata: Metadata  # metadata of the task: a later task may have the same id

    @classmethod
    def read(cls, message: RawStreamMsg) -> "SegmentsMessage":
        """Parse a message with segments.

        Raises:
            LookupError, ValueError: Another version of the service has written this message.
        """
        event, headers = SegmentsEvent.model_validate_json(message.data or b""), message.headers or {}
        return cls(event, headers.get(AUDIO_SHA256, ""), message.seq or 0, Metadata.read(headers))


@dataclass(frozen=True, slots=True)
class SpeakersMessage:
    """An event on `speakers.<task_id>`, with metadata that tells tasks with the same id apart."""

    event: SpeakersEvent
    stream_sequence: int
    metadata: Metadata

    @classmethod
    def read(cls, message: RawStreamMsg) -> "SpeakersMessage":
        """Parse a message about speakers.

        Raises:
            LookupError, ValueError: Another version of the service has written this message.
        """
        event = SpeakersEvent.model_validate_json(message.data or b"")
        return cls(event, message.seq or 0, Metadata.read(message.headers or {}))


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """The outcome of a task (its result, or the note that it has none) as a message in the stream of results."""

    outcome: Outcome
    metadata: Metadata  # metadata of the task: a later task may have the same id
    stream_sequence: int

    @classmethod
    def read(cls, message: RawStreamMsg) -> "StoredOutcome":
        """Parse a message of the stream of results.

        Raises:
            LookupError, ValueError: Another version of the service has written this message.
        """
        if (message.subject or "").startswith(subjects.no_results("")):
            outcome: Outcome = NoResult.model_validate_json(message.data or b"")
        else:
            outcome = RESULT.validate_json(message.data or b"")
        return cls(outcome, Metadata.read(message.headers or {}), message.seq or 0)

    def has_lapsed(self, last: Record) -> bool:
        """Return whether this outcome is outdated, so that a writer may replace it.

        `last`: the last record of the task's log that the writer knows. An outcome of an earlier task with the same id
        is outdated. A `NoResult` is outdated, too, once the log has a record after the one that it names in `after`:
        the writer of the `NoResult` was too late to append the end of the task.
        """
        if not self.metadata.owner.is_same_as(last.metadata.owner):
            return self.metadata.owner.is_older_than(last.metadata.owner)
        return isinstance(self.outcome, NoResult) and self.outcome.after < last.stream_sequence


def end_of(outcome: Outcome) -> tuple[State, ErrorDetail | None]:
    """Return the state in which a task with this outcome ends, and its error; None if it has no error."""
    if not isinstance(outcome, NoResult):
        return State.COMPLETED, None
    return (State.CANCELLED if outcome.error is None else State.FAILED), outcome.error
