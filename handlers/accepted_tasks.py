"""accepted.tasks.*: copies of the tasks that the task stream has stored."""

from typing import Annotated

from faststream import Header
from faststream.nats import NatsRoute
from natscribe.schemas import subjects
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.kinds import Task
from natscribe.schemas.wire import Lane

from app.queue.registration import Announcement, Registration
from handlers.dependencies import FromContext


async def accept(
    task: Task,
    subject: Annotated[str, Header("Nats-Subject")],
    sequence: Annotated[int, Header("Nats-Sequence")],
    registration: Annotated[Registration, FromContext()],
    replay_of: Annotated[str | None, Header(REPLAY_OF, default=None)],
) -> None:
    """Wake the workers for a stored task, and append `queued` to its log soon, unless a worker begins it at once.

    The task stream republishes each stored task for the workers (core NATS, not stored).
    """
    await registration.announce(Announcement(task.task_id, subject, sequence), replayed=replay_of is not None)


ROUTES = tuple(
    NatsRoute(
        accept,
        subjects.accepted(lane),
        queue=subjects.QUEUE_GROUP,
        no_reply=True,
        title=f"Accepted {lane.task} tasks",
    )
    for lane in Lane
)
