"""accepted.tasks.*: copies of the tasks that the task stream has stored."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.kinds import Task
from natscribe.schemas.wire import Queue

from app.queue.registration import Registration
from handlers.dependencies import FromContext, Message
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.accepted(Queue.TRANSCRIPTION), queue=subjects.QUEUE_GROUP, no_reply=True)
@router.subscriber(subjects.accepted(Queue.DIARIZATION), queue=subjects.QUEUE_GROUP, no_reply=True)
@router.subscriber(subjects.accepted(Queue.LIVE), queue=subjects.QUEUE_GROUP, no_reply=True)
async def accept(task: Task, message: Message, registration: Annotated[Registration, FromContext()]) -> None:
    """Have `queued` appended to the log of a stored task soon, unless a worker begins the task at once."""
    await registration.announce(task, message.headers)
