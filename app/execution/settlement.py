"""Settling: what becomes of a task message, and what is said of that, once it is known how its delivery ended."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog
from nats.aio.msg import Msg

from app.dead_letters.store import DeadLetterBox
from app.errors import FencedError, TaskError, TransientError
from app.execution.attempt import TaskAttempt
from app.queue.stored_message import StoredMessage
from app.task_log.log import TaskLog
from schemas.errors import ErrorDetail
from schemas.progress import ProgressEvent, State

LONGEST_DELAY = 3600.0  # seconds: the message must not expire while its task waits to be tried again

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settler:
    """Retries what can pass and gives up the rest; the log's record comes first, the message goes last."""

    log: TaskLog
    dead_letters: DeadLetterBox
    max_attempts: int
    retry_delay: float  # seconds
    jitter: Callable[[], float] = field(default=random.random)  # 0..1

    async def done(self, message: Msg) -> None:
        """Take the message from the queue: all is said in the log."""
        await message.ack()

    async def failed(self, message: Msg, attempt: TaskAttempt, error: TaskError) -> State:
        """Retry where that can help and attempts are left, else give up (FencedError)."""
        last = attempt.record.event
        if last.state.ended:  # nothing follows an end, whatever went wrong after it
            await message.ack()
            return last.state
        attempts_left = attempt.number < last.max_attempts or attempt.may_go_without_speakers
        if isinstance(error, TransientError) and attempts_left:
            delay = self._delay(attempt.number)
            await attempt.retry(error.detail, datetime.now(UTC) + timedelta(seconds=delay))
            await message.nak(delay=delay)
            return State.RETRYING
        await attempt.fail(error.detail)
        await self.buried(message, attempt.record.event)
        return State.FAILED

    async def buried(self, message: Msg, last: ProgressEvent) -> None:
        """Keep the letter of a task that has failed, then take its message from the queue."""
        if last.error is not None:
            stored = StoredMessage.delivered(message)
            await self.dead_letters.put(stored, last.task_id, last.error, attempts=last.attempt)
            if await self.log.last(last.task_id) is None:  # it was deleted meanwhile: nothing of it is to be left
                await self.dead_letters.delete_all(last.task_id)
        await message.ack()

    async def unopened(self, message: Msg) -> None:
        """Have the message delivered again later: its log could not be reached."""
        await message.nak(delay=self._delay(1))

    async def given_back(self, message: Msg, attempt: TaskAttempt | None) -> None:
        """Have the message delivered again at once: nothing is wrong, but this worker does not go on."""
        if attempt is not None and attempt.runs:
            await attempt.give_back()
        await message.nak()

    async def invalid(self, message: Msg) -> ErrorDetail | None:
        """Keep the letter of a message that is no task; say `failed` where it carries an unknown task id.

        None where the message is valid: it is delivered again later, to whoever can take it.
        """
        stored = StoredMessage.delivered(message)
        detail = stored.problem
        if detail is None:  # nothing is wrong with it, but with the worker
            log.error("task_unopened")
            await self.unopened(message)
            return None
        task_id = stored.task_id
        log.warning("task_invalid", task_id=task_id, kind=stored.kind, error=detail.code)
        if task_id is not None:
            await self._say_invalid(stored, task_id, detail)
        await self.dead_letters.put(stored, task_id, detail, attempts=0)
        await message.ack()
        return detail

    async def _say_invalid(self, message: StoredMessage, task_id: str, detail: ErrorDetail) -> None:
        event = ProgressEvent(
            task_id=task_id,
            kind=message.kind,
            state=State.FAILED,
            max_attempts=self.max_attempts,
            sequence=1,
            error=detail,
            worker=self.log.worker,
            time=datetime.now(UTC),
        )
        try:
            await self.log.append(event, message.metadata(None), after=0)
        except FencedError:
            return  # the id is known: another task's log is not ours to write

    def _delay(self, attempt: int) -> float:
        """Doubling from `retry_delay`, plus up to a quarter of it so that retries do not come all at once."""
        delay = min(self.retry_delay * 2 ** (attempt - 1), LONGEST_DELAY)
        return float(delay * (1 + self.jitter() / 4))
