"""Handles `accepted.tasks.*`, on which the task stream republishes each task that it has stored."""

from faststream.nats import NatsRoute
from faststream.nats.annotations import NatsMessage
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import Task

from app.storage.jetstream.channels import ACCEPTED
from app.tasks.queue.registration import Announcement, Registration
from handlers.dependencies import part


async def accept(
    task: Task,
    message: NatsMessage,
    registration: Registration = part(lambda worker: worker.registration),
) -> None:
    """Register a stored task: append `queued` or `scheduled` to its log, unless a worker has already started it.

    The task stream republishes each stored task for the workers (core NATS, not stored); one of them receives it. It
    waits for a moment, in which an idle worker may start the task and append the event itself.
    """
    subject, sequence = message.headers.get("Nats-Subject", ""), int(message.headers.get("Nats-Sequence", ""))
    await registration.announce(Announcement(task.task_id, subject, sequence), replayed=REPLAY_OF in message.headers)


ROUTES = tuple(
    NatsRoute(accept, channel.subject, queue=channel.group, no_reply=True, title=channel.title)
    for channel in ACCEPTED.values()
)
