"""Expiry: fails a task that has waited too long, before JetStream silently removes its message."""

from datetime import timedelta
from typing import Final

import structlog
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State

from app.dead_letters.store import DeadLetterStore
from app.errors import FencedError, MessageGoneError, ObsoleteMessageError, RequestError
from app.queue.registration import Registration
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.task_log.log import TaskLog
from app.task_log.record import Record

WAITING_AT_ONCE: Final = 20  # messages that are read in one batch
EXPIRED: Final = ErrorDetail(
    code=ErrorCode.EXPIRED,
    message="The task waited too long for a worker: start more workers and submit it under a new id.",
)

log = structlog.get_logger()


async def expire_tasks(
    messages: TaskMessages,
    registration: Registration,
    task_log: TaskLog,
    dead_letters: DeadLetterStore,
    *,
    after: timedelta,
) -> None:
    """Fail waiting tasks whose messages were stored more than the duration `after` ago; running tasks continue.

    Raises:
        NatsError: NATS does not answer.
        TransientError: JetStream does not answer.
    """
    now, searched_up_to = await messages.now(), 0
    while page := await messages.page_after(subjects.ALL_TASKS, searched_up_to, count=WAITING_AT_ONCE):
        for message in page:
            if now - message.time < after:
                return
            searched_up_to = message.sequence
            ended = await _end(message, registration, task_log)
            if ended is None:
                continue
            event = ended.event
            if event.error is not None:
                await dead_letters.put(message, event.task_id, event.error, attempts=event.attempt)
            await messages.remove(ended)
            log.warning("task_expired", task_id=event.task_id)


async def _end(message: StoredMessage, registration: Registration, task_log: TaskLog) -> Record | None:
    """Fail the task of a message that has waited too long, and return the last record of the task's log.

    Return None if the task does not wait. Return None also if the message is invalid, because the worker that receives
    it rejects it.
    """
    task = message.task
    if task is None or message.problem is not None:
        return None
    try:
        record = await registration.register(task, message)
        waits = record.event.state in {State.QUEUED, State.RETRYING}
        return await task_log.end(record, EXPIRED) if waits else None
    except (ObsoleteMessageError, MessageGoneError, FencedError, RequestError):
        return None
