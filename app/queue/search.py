"""Finds a task as soon as the task stream has stored it: after a burst, registration takes some seconds."""

from natscribe.schemas.errors import ErrorCode

from app.errors import RequestError
from app.queue.index import QueueIndex
from app.queue.registration import Announcement, Registration
from app.task_log.log import TaskLog
from app.task_log.record import Record


async def find_task(log: TaskLog, index: QueueIndex, registration: Registration, task_id: str) -> Record | None:
    """Return the last record of a task, which is registered first if it only is stored; None if no such task is stored.

    Raises:
        NatsError: NATS does not answer.
        RequestError: The message is stored and is no valid task: the worker that takes it will say so.
        TransientError: JetStream does not answer.
    """
    last = await log.last(task_id)
    if last is not None:
        return last
    stored = await index.find(task_id)
    await registration.register_waiting([Announcement(task_id, each.subject, each.sequence) for each in stored])
    last = await log.last(task_id)  # even if no message is stored: a worker may have settled it in the meantime
    if last is None and await index.find(task_id):
        message = f"Task {task_id} waits, and its message is not registered yet: ask again in a moment."
        raise RequestError(ErrorCode.INTERNAL, message)
    return last
