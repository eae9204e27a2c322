"""Handles `accepted.tasks.*`, on which the task stream republishes each task that it has stored."""

from typing import Annotated

from faststream import StreamMessage
from faststream.nats import NatsRoute
from nats.aio.msg import Msg
from natscribe.schemas.channels import ACCEPTED
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import Task

from app.queue.registration import Announcement, Registration
from handlers.dependencies import FromContext


async def accept(
    task: Task,
    message: Annotated[StreamMessage[Msg], FromContext()],  # `Header()` would read each header in a thread
    registration: Annotated[Registration, FromContext()],
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
