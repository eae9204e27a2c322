"""A message of the task stream as workers use it: when its task may start, how long its audio is, which log it owns."""

import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from nats.js.api import RawStreamMsg
from natscribe.jetstream.task_messages import TaskMessage, parse_json_leniently
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.kinds import Task, due_at
from natscribe.schemas.progress import State
from natscribe.schemas.wire import UserId
from pydantic import TypeAdapter

from app.tasks.queue.fair_queue import QueuedTask
from app.tasks.task_log.record import Metadata, Record, TaskMessageId

LONGEST_RECORDING_S = 24 * 3600.0
_MAY_BE_SCHEDULED: Final = re.compile(rb"not_before|\\u")  # a JSON key may be written with escapes
_USER: Final = TypeAdapter[int | str](UserId)


class StoredMessage(TaskMessage):
    """A message of the task stream, with its user, the duration of its recording, and the time from which it may start.

    Several messages may have the same task id, but the log of the task belongs to one of them: see `owns`.
    """

    __slots__ = ()

    @classmethod
    def fetched(cls, message: RawStreamMsg) -> "StoredMessage":
        """Create the message from one that was read from the task stream, not delivered by a consumer."""
        time = (message.time or datetime.now(UTC)).astimezone(UTC)
        return cls(message.subject or "", message.seq or 0, time, message.headers or {}, message.data or b"")

    @property
    def audio_seconds(self) -> float | None:
        """The duration of the recording in seconds, from a header that the publisher has set.

        A duration of more than a day is reduced to a day. None if the header is missing, or is not a number above 0.
        """
        try:
            seconds = float(self.headers.get(AUDIO_SECONDS, ""))
        except ValueError:
            return None
        return min(seconds, LONGEST_RECORDING_S) if seconds > 0 else None  # `nan` is not above 0, either

    @property
    def due_at(self) -> datetime:
        """From when the task may start: when the message was stored or, if that is later, the task's `not_before`.

        An invalid message is due immediately: the worker that receives it rejects it.
        """
        if not _MAY_BE_SCHEDULED.search(self.body):
            return self.time  # nothing has to be parsed
        return due_at(self.task, self.time)

    @property
    def user(self) -> int | str | None:
        """The user id in the body; None if there is none, or it is invalid."""
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            user: int | str = _USER.validate_python(parse_json_leniently(self.body)["user_id"], strict=True)
            return user
        return None

    @property
    def queued_task(self) -> QueuedTask:
        """The task as a `QueuedTask`, from which `FairQueue` decides when it starts."""
        seconds = math.nan if self.audio_seconds is None else self.audio_seconds
        return QueuedTask(self.user, self.task_type, self.priority, self.sequence, seconds)

    @property
    def trace_id(self) -> str | None:
        """The id of the trace in the publisher's `traceparent` header; None if there is no such header."""
        return self.traceparent.split("-")[1] if self.traceparent else None

    def metadata(self, task: Task | None) -> Metadata:
        """Return the metadata for the first record of the task's log; `task` is None if the message is invalid."""
        return Metadata(task, self.sequence, self.subject, self.time, traceparent=self.traceparent)

    def owns(self, record: Record) -> bool:
        """Return whether the task log with `record` belongs to this message, not to another with the same task id."""
        return record.metadata.owner.is_same_as(TaskMessageId(self.time, self.sequence))

    def replays(self, record: Record, task: Task) -> bool:
        """Return whether this message queues a failed task again: the task whose log ends with `record`.

        `task`: the task in this message, which must equal the failed task.
        """
        failed = record.event.state is State.FAILED and record.stream_sequence == self.replay_of
        return failed and record.metadata.task == task
