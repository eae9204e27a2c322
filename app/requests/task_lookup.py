"""Finds a task by its id, even if it is stored in the task stream but no worker has registered it in its log yet."""

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.request_errors import unknown_task
from natscribe.schemas.requests import READ_WITHIN_S

from app.requests.deadline import answering
from app.runtime.errors import RequestError
from app.tasks.queue.index import QueueIndex
from app.tasks.queue.registration import Announcement, Registration
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record


async def find_task(log: TaskLog, index: QueueIndex, registration: Registration, task_id: str) -> Record:
    """Return the last record in the log of a task, within READ_WITHIN_S.

    If the task is stored in a queue but its log is empty, register it first, i.e. append the first event to the log.

    Raises:
        RequestError: The task is unknown or invalid, it cannot be registered now, or NATS does not answer in time.
    """
    async with answering(
        f"No task {task_id} was found within {READ_WITHIN_S:.0f} s: check the id, or try again in a moment."
    ):
        record = await log.last(task_id) or await _register(log, index, registration, task_id)
    if record is None:
        raise RequestError.of(unknown_task(task_id))
    return record


async def _register(log: TaskLog, index: QueueIndex, registration: Registration, task_id: str) -> Record | None:
    """Register a task that is stored in a queue, i.e. append the first event to its log.

    Return the last record of the log; None if there is no such task.

    Raises:
        RequestError: A message with the id is stored, but is invalid or cannot be registered now.
    """
    stored = await index.find(task_id)
    await registration.register_waiting(
        [Announcement(task_id, message.subject, message.sequence) for message in stored]
    )
    last = await log.last(task_id)  # even without a stored message: a worker may have settled it in the meantime
    unregistered = await index.find(task_id) if last is None else []
    if unregistered:
        raise _refusal(unregistered[0])
    return last


def _refusal(message: StoredMessage) -> RequestError:
    """Return the error reply about a task whose message is stored, but which could not be registered."""
    if message.problem is not None:
        return RequestError.of(message.problem)
    text = f"Task {message.task_id} waits, and the service could not register it now: try again in a moment."
    return RequestError(ErrorCode.INTERNAL, text)
