"""Expiry: a task that waited too long ends with a word, before its message vanishes without one."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
from nats.aio.client import Client
from nats.js.errors import APIError

from app.dead_letters.store import DeadLetterBox
from app.errors import AlreadyKnownError, FencedError
from app.jetstream.stream_pages import next_from
from app.queue.registration import Registration
from app.queue.stored_message import StoredMessage
from app.task_log.log import TaskLog
from schemas import subjects
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import State
from schemas.stream_names import StreamNames

WAITING = {State.QUEUED, State.RETRYING}
EXPIRED = ErrorDetail(
    code=ErrorCode.EXPIRED,
    message="The task waited too long for a worker: start more workers and publish it under a new id.",
)

log = structlog.get_logger()


class Expiry:
    """Ends the tasks whose messages have waited for `after` seconds."""

    def __init__(  # noqa: PLR0913 -- an end is said in the log, kept in a letter and taken from the queue
        self,
        nats: Client,
        names: StreamNames,
        log_: TaskLog,
        registration: Registration,
        letters: DeadLetterBox,
        *,
        after: float,
    ) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self._log = log_
        self._registration = registration
        self._letters = letters
        self._after = timedelta(seconds=after)

    async def sweep(self) -> int:
        """End what has expired; how many tasks that were. A task that runs is left to its worker."""
        expired = at = 0
        while (message := await self._next(at + 1)) is not None and datetime.now(UTC) - message.time >= self._after:
            at = message.sequence
            expired += await self._expire(message)
        return expired

    async def _next(self, at: int) -> StoredMessage | None:
        found = await next_from(self._nats, self._names.tasks, subjects.ALL_TASKS, at)
        return None if found is None else StoredMessage.fetched(found)

    async def _expire(self, message: StoredMessage) -> bool:
        """End one task, unless somebody is busy with it or its message is no task: its worker ends that."""
        task = message.task
        if task is None:
            return False
        try:
            record = await self._registration.register(task, message)
            if record.event.state not in WAITING:
                return False
            ended = await self._log.end(record, EXPIRED)
        except (AlreadyKnownError, FencedError):
            return False
        if ended.event.error is not None:
            await self._letters.put(message, record.event.task_id, ended.event.error, attempts=record.event.attempt)
        with suppress(APIError):  # another worker has swept it
            await self._js.delete_msg(self._names.tasks, message.sequence)
        log.warning("task_expired", task_id=record.event.task_id)
        return True
