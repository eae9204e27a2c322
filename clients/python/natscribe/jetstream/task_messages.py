"""Parses task messages, i.e. the messages of the task stream, which anybody may have published and may be invalid."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from nats.aio.msg import Msg
from pydantic import ValidationError
from typing_extensions import Self

from natscribe.jetstream.cloud_events import JSON
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import REPLAY_OF, TRACE_PATTERN, TRACEPARENT
from natscribe.schemas.kinds import TASKS, Task, read_task
from natscribe.schemas.problems import problems_of
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import TASK_ID_PATTERN, Kind, Priority, TaskType

REPLAYS_NOTHING = ErrorDetail(
    code=ErrorCode.INVALID_MESSAGE,
    message=f"The header {REPLAY_OF} names no failure of this task: publish the task without it, under a new id.",
)
SEQUENCE_DIGITS = 19  # the largest stream sequence has this number of digits


def parse_json_leniently(body: bytes) -> Any:
    """Parse the JSON body of a message that may be an invalid task, to extract its task id or user id.

    Python refuses integers of more than 4,300 digits. Here integers are truncated to 21 characters, which are still
    more than a valid id may have.

    Raises:
        ValueError: The body is not JSON.
        RecursionError: The JSON is nested too deeply.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    return json.loads(text, strict=False, parse_int=lambda digits: int(digits[:21]))


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """A message that requests a task, as stored in the task stream; its body may be invalid."""

    subject: str
    sequence: int
    time: datetime
    headers: Mapping[str, str]
    body: bytes = b""

    @classmethod
    def delivered(cls, message: Msg) -> Self:
        """Create the object from a message that JetStream has delivered."""
        metadata = message.metadata
        time = metadata.timestamp.astimezone(timezone.utc)
        return cls(message.subject, metadata.sequence.stream, time, message.headers or {}, message.data)

    @property
    def task_type(self) -> TaskType:
        """The type of the task (transcription, diarization or live), as in the subject."""
        task_type, _ = subjects.queue_of(self.subject)
        return task_type

    @property
    def kind(self) -> Kind:
        """Whether the task is a transcription or a diarization, as in the subject."""
        return self.task_type.kind

    @property
    def priority(self) -> Priority:
        """The priority of the task, as in the subject."""
        _, priority = subjects.queue_of(self.subject)
        return priority

    @property
    def task(self) -> Task | None:
        """The task in the body, including fields of later versions; None if the body is no valid task."""
        try:
            return read_task(self.task_type, self.body)
        except ValueError:
            return None

    @property
    def task_id(self) -> str | None:
        """The task id in the body, even if the rest of the body is invalid; None if there is no valid id."""
        try:
            task_id = parse_json_leniently(self.body)["task_id"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        return task_id if isinstance(task_id, str) and re.fullmatch(TASK_ID_PATTERN, task_id) else None

    @property
    def problem(self) -> ErrorDetail | None:
        """Why the message is invalid, as an error that does not quote its content; None if the message is valid."""
        try:
            TASKS[self.task_type].model_validate_json(self.body)
        except ValidationError as error:
            problem = problems_of(error)
        else:
            if self.headers.get("content-type", "") in {"", JSON}:
                return None
            problem = f"its content-type is not {JSON}"
        message = f"The message is no valid {self.kind} task ({problem}): correct it and submit it under a new id."
        return ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message=message)

    def first_event(self, task_id: str, task: Task | None, state: State, **fields: object) -> ProgressEvent:
        """Return the first progress event of the task that this message requests, with the state `state`.

        `task`: the task in the body; None if the body is not a valid task. `fields`: the other fields of the event;
        `max_attempts` is required.
        """
        of_message = {"task_id": task_id, "kind": self.kind, "priority": self.priority, "state": state}
        of_task = {} if task is None else {"user_id": task.user_id, "audio_file_id": task.audio_file_id}
        begun = {"sequence": 1, "time": datetime.now(timezone.utc)}
        return ProgressEvent.model_validate(begun | of_message | of_task | fields)

    @property
    def traceparent(self) -> str | None:
        """The publisher's W3C trace context, which every event of the task repeats; None if missing or invalid."""
        value = self.headers.get(TRACEPARENT, "")
        return value if re.fullmatch(TRACE_PATTERN, value) else None

    @property
    def replay_of(self) -> int | None:
        """The stream sequence of the task's `failed` event if this message replays a failed task; else None."""
        value = self.headers.get(REPLAY_OF, "")
        return int(value) if value.isascii() and value.isdecimal() and len(value) <= SEQUENCE_DIGITS else None
