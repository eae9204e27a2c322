"""Fails tasks that have waited too long, before JetStream removes their messages without notice; repeats schedules.

A scheduled task may wait longer than its log and its Redis keys are stored. So its event `scheduled` is appended again
before they expire.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State, next_event

from app.runtime.errors import FencedError, MessageGoneError, ObsoleteMessageError, RequestError
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.queue.registration import Registration
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record

REPEATED_AFTER: Final = 6 / 7  # of the time for which a task may wait, and Redis has its keys
WAITING_AT_ONCE: Final = 20  # messages that are read in one batch
EXPIRED: Final = ErrorDetail(
    code=ErrorCode.EXPIRED,
    message="The task waited too long for a worker: start more workers and submit it under a new id.",
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Expiry:
    """Fails tasks that have waited too long, and keeps the logs of scheduled tasks from expiring."""

    messages: TaskMessages
    registration: Registration
    log: TaskLog
    dead_letters: DeadLetterStore

    async def expire(self, *, after: timedelta) -> None:
        """Fail the tasks that have waited longer than `after`, since they were stored or since their scheduled start.

        Running tasks continue. If the event `scheduled` of a task is nearly as old as `after`, append it again, so that
        the task's log does not expire before the task starts.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        now, searched_up_to = (await self.messages.stream_times()).now, 0
        while page := await self.messages.page_after(subjects.ALL_TASKS, searched_up_to, count=WAITING_AT_ONCE):
            for message in page:
                if now - message.time < after * REPEATED_AFTER:
                    return
                searched_up_to = message.sequence
                due_at = message.due_at
                if due_at > now:
                    await self._repeat_schedule(message, before=now - after * REPEATED_AFTER)
                if now - due_at >= after and await self.fail(message, EXPIRED):
                    log.warning("task_expired", task_id=message.task_id)

    async def fail(self, message: StoredMessage, error: ErrorDetail) -> bool:
        """End a waiting task as `failed` with `error`, and delete its message, after storing a dead letter if needed.

        Return False if the task no longer waits, or if its message is invalid; then the worker that receives the
        message settles it.

        Raises:
            NatsError: NATS does not answer.
            TransientError: JetStream does not answer.
        """
        ended = await self._end(message, error)
        if ended is None:
            return False
        if ended.event.error is not None:
            await self.dead_letters.put_failed(message, ended.event)
            self.dead_letters.meter.failed(message.task_type, ended.event.state, ended.event.error.code, seconds=None)
        await self.messages.remove(ended)
        return True

    async def _end(self, message: StoredMessage, error: ErrorDetail) -> Record | None:
        """End the log of a waiting task with `error`, and return the log's last record.

        Return None if the task no longer waits or was deleted, or if its message is invalid.
        """
        task = message.task
        if task is not None and message.problem is None:
            with suppress(ObsoleteMessageError, MessageGoneError, FencedError, RequestError):
                last = await self.registration.register(task, message)
                if last.event.state.waits or last.event.state is State.RETRYING:
                    return await self.log.end(last, error)
        return None

    async def _repeat_schedule(self, message: StoredMessage, *, before: datetime) -> None:
        """Append the event `scheduled` of a task again if it was appended before the time `before`."""
        task = message.task
        if task is not None:
            with suppress(ObsoleteMessageError, MessageGoneError, FencedError, RequestError):
                last = await self.registration.register(task, message)
                if last.event.state is State.SCHEDULED and last.event.time < before:
                    event = next_event(last.event, State.SCHEDULED, not_before=last.event.not_before)
                    await self.log.append(event, last.metadata, after=last.stream_sequence)
