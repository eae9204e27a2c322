"""Decides which task log belongs to a task message, and reads the headers that only the service needs."""

from datetime import UTC, datetime

from nats.js.api import RawStreamMsg
from natscribe.jetstream.stream_pages import PENDING
from natscribe.jetstream.task_messages import TaskMessage
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.kinds import Task
from natscribe.schemas.progress import State

from app.task_log.record import Metadata, Owner, Record

LONGEST_RECORDING_S = 24 * 3600.0


class StoredMessage(TaskMessage):
    """A task message, and its relation to task logs."""

    __slots__ = ()

    @classmethod
    def fetched(cls, message: RawStreamMsg) -> "StoredMessage":
        """Make the task message of a message that was read from the task stream."""
        time = (message.time or datetime.now(UTC)).astimezone(UTC)
        return cls(message.subject or "", message.seq or 0, time, message.headers or {}, message.data or b"")

    @property
    def audio_seconds(self) -> float | None:
        """The recording's length in seconds, from the publisher's header, at most a day; None if not above 0."""
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
    def trace_id(self) -> str | None:
        """The id of the publisher's trace, for logs."""
        return self.traceparent.split("-")[1] if self.traceparent else None

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
