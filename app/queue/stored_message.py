"""Reads task messages as the task stream holds them, and decides which task log belongs to a message."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg
from natscribe.jetstream.stream_pages import PENDING
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import AUDIO_SECONDS, REPLAY_OF, TRACE_PATTERN, TRACEPARENT
from natscribe.schemas.problems import first_problem
from natscribe.schemas.progress import State
from natscribe.schemas.wire import TASK_ID_PATTERN, Kind, Priority
from pydantic import ValidationError

from app.task_log.record import TASKS, Metadata, Owner, Record
from app.updates import Task

JSON = "application/json"
LONGEST_RECORDING_S = 24 * 3600.0
SEQUENCE_DIGITS = 19  # the largest stream sequence has this number of digits


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A task message as the task stream holds it."""

    subject: str
    sequence: int
    time: datetime
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def delivered(cls, message: Msg) -> "StoredMessage":
        """Read a message that JetStream has delivered."""
        metadata = message.metadata
        time = metadata.timestamp.astimezone(UTC)
        return cls(message.subject, metadata.sequence.stream, time, message.headers or {}, message.data)

    @classmethod
    def fetched(cls, message: RawStreamMsg) -> "StoredMessage":
        """Read a message that was read from the stream."""
        time = (message.time or datetime.now(UTC)).astimezone(UTC)
        return cls(message.subject or "", message.seq or 0, time, message.headers or {}, message.data or b"")

    @property
    def kind(self) -> Kind:
        """The kind of the task, read from the subject."""
        kind, _ = subjects.queue_of(self.subject)
        return kind

    @property
    def priority(self) -> Priority:
        """The priority of the task, read from the subject."""
        _, priority = subjects.queue_of(self.subject)
        return priority

    @property
    def task(self) -> Task | None:
        """The task in the body; None if the body is no valid task."""
        try:
            return TASKS[self.kind].validate_json(self.body)
        except ValueError:
            return None

    @property
    def task_id(self) -> str | None:
        """The task id in the body, even if the rest of the body is invalid; None if there is no valid id."""
        try:
            found = json.loads(self.body)["task_id"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        return found if isinstance(found, str) and re.fullmatch(TASK_ID_PATTERN, found) else None

    @property
    def problem(self) -> ErrorDetail | None:
        """What is wrong with the message, without quoting its content; None if the message is valid."""
        try:
            TASKS[self.kind].validate_json(self.body)
        except ValidationError as error:
            problem = first_problem(error)
        else:
            if self.headers.get("content-type", "") in {"", JSON}:
                return None
            problem = f"its content-type is not {JSON}"
        message = f"The message is no valid {self.kind} task ({problem}): correct it and publish it under a new id."
        return ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message=message)

    @property
    def audio_seconds(self) -> float | None:
        """The length of the recording in seconds, from the publisher's header; None if the header is not above 0."""
        try:
            found = float(self.headers.get(AUDIO_SECONDS, ""))
        except ValueError:
            return None
        return min(found, LONGEST_RECORDING_S) if found > 0 else None  # `nan` is not above 0, either

    @property
    def behind(self) -> int | None:
        """How many messages follow this message in its queue; known only of messages that were read in a page."""
        found = self.headers.get(PENDING)
        return int(found) if found else None

    @property
    def traceparent(self) -> str | None:
        """The publisher's trace context, which every record of the task repeats; None if it is invalid."""
        found = self.headers.get(TRACEPARENT, "")
        return found if re.fullmatch(TRACE_PATTERN, found) else None

    @property
    def trace_id(self) -> str | None:
        """The id of the publisher's trace, for logs."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    @property
    def replay_of(self) -> int | None:
        """The stream sequence of the `failed` record that a replay continues; None if the message is no replay."""
        found = self.headers.get(REPLAY_OF, "")
        return int(found) if found.isascii() and found.isdecimal() and len(found) <= SEQUENCE_DIGITS else None

    def metadata(self, task: Task | None) -> Metadata:
        """Return the metadata for the first record of the task's log; `task` is None if the message is invalid."""
        return Metadata(task, self.sequence, self.subject, self.time, traceparent=self.traceparent)

    def owns(self, record: Record) -> bool:
        """Whether the record's log belongs to this message."""
        return record.metadata.owner.is_same_as(Owner(self.time, self.sequence))

    def replays(self, record: Record, task: Task) -> bool:
        """Whether the message replays, with the same task, the failure that is the last record of its log."""
        failed = record.event.state is State.FAILED and record.stream_sequence == self.replay_of
        return failed and record.metadata.task == task
