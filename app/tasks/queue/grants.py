"""Grants: messages by which the scheduler lets workers start tasks, one for each task that runs or is about to start.

The subject of a grant contains the stream sequence of the task message, and JetStream refuses a second message on that
subject. So a task has at most one grant, whichever worker publishes it, until the worker that runs the task has deleted
the task message and acknowledged the grant.
"""

from typing import Self

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from nats.js.errors import BadRequestError
from natscribe.jetstream.stream_pages import pages
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from pydantic import BaseModel, StrictInt, StrictStr

from app.storage.jetstream.records import parse_stored
from app.storage.jetstream.slots import SlotPool
from app.storage.jetstream.stream_log import EXPECTED_SEQUENCE, WRONG_LAST_SEQUENCE
from app.tasks.queue.fair_queue import DEFAULT_S, QueuedTask


class Grant(BaseModel):
    """A message by which the scheduler lets a worker start one task.

    `subject`, `sequence`: the subject and the stream sequence of the task message. `user`: the user of the task; None:
    the message has no valid user id. `seconds`: the seconds of audio that the user is charged for; None: unknown.
    """

    subject: str
    sequence: int
    user: StrictInt | StrictStr | None = None
    seconds: float | None = None

    @classmethod
    def of(cls, task: QueuedTask) -> Self:
        """Create the grant of a task that the scheduler has chosen to start."""
        subject = subjects.tasks(task.task_type, task.priority)
        return cls(subject=subject, sequence=task.sequence, user=task.user, seconds=task.seconds)

    @property
    def queued_task(self) -> QueuedTask:
        """The granted task, as `FairQueue` needs it; an unknown duration is replaced with DEFAULT_S."""
        return QueuedTask(self.user, *subjects.queue_of(self.subject), self.sequence, self.seconds or DEFAULT_S)


class Ended(Grant):
    """A notice to the scheduler that a task no longer runs: its message was deleted, or an attempt has failed.

    `frees_slot`: whether a slot of a worker is free now; this is so if the worker that ran the task sent the notice.
    `is_retried`: whether the task will be retried, and needs no new grant for it.
    """

    frees_slot: bool = False
    is_retried: bool = False


def read_grant(body: bytes) -> Grant:
    """Parse a grant from the body of its message.

    Raises:
        UnreadableError: Another version of the service has written the grant.
    """
    return parse_stored(Grant, body, "a grant")


class Grants:
    """Publishes grants to their stream."""

    def __init__(self, publisher: LogicPublisher, names: StreamNames) -> None:
        self._publisher = publisher
        self._names = names

    async def publish(self, task: QueuedTask) -> int | None:
        """Publish the grant of a task; return its stream sequence, or None if the task already has a grant.

        Raises:
            NatsError: NATS does not answer; the grant may have been stored.
        """
        subject, once = subjects.ready(SlotPool.of(task.task_type), task.sequence), {EXPECTED_SEQUENCE: "0"}
        try:
            stored = await self._publisher.publish(Grant.of(task), subject, once, stream=self._names.ready)
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            return None
        return stored.seq


async def all_grants(nats: Client, names: StreamNames) -> list[Grant]:
    """Return all grants: of tasks that run, are about to start, or wait for a retry.

    Raises:
        NatsError: NATS does not answer.
        UnreadableError: Another version of the service has written a grant.
    """
    stored = [page async for page in pages(nats, names.ready, subjects.ALL_READY)]
    return [read_grant(message.data or b"") for page in stored for message in page]
