"""Settlement: end, retry or release a task and settle its message, depending on how the work on it ended."""

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, State

from app.dead_letters.store import DeadLetterStore
from app.errors import AlreadyKnownError, FencedError, NotHeldError, TaskError, TransientError, in_words
from app.execution.attempt import TaskAttempt
from app.execution.checkpoint import StaleSegmentsError
from app.execution.retries import delay_after, may_retry
from app.jetstream.records import UnreadableError
from app.queue.stored_message import StoredMessage
from app.redis_store.projection import RedisProjection
from app.task_log.log import TaskLog
from app.telemetry.metrics import Meter

EMPTY_LOG_DELAY_S: Final = 2.0  # in which a changed stream is put back

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Settled:
    """How a settlement has ended the work on a task: the new state of the task, and the error of the attempt."""

    state: State | None  # in which this worker leaves the task; None: it has not changed the task
    error: ErrorDetail | None = None  # with which the attempt has failed; None: it has not failed


@dataclass(frozen=True, slots=True)
class Settlement:
    """Settles the message of a task in a fixed order: append to the log, store the dead letter, settle the message."""

    log: TaskLog
    dead_letters: DeadLetterStore
    projection: RedisProjection
    meter: Meter
    max_attempts: int
    retry_delay: float  # seconds before the first retry
    held: Callable[[str, int], Awaitable[StoredMessage | None]]  # reads a message of a queue by subject and sequence
    jitter: Callable[[], float] = field(default=random.random)  # returns a random number 0..1

    async def completed(self, message: Msg) -> Settled:
        """Acknowledge the message of a task whose result is stored."""
        try:
            await message.ack()
        except NatsError as broken:  # the next worker that gets the message finds the result
            log.warning("task_acknowledgement_failed", error=in_words(broken))
        return Settled(State.COMPLETED)

    async def failed(self, message: Msg, attempt: TaskAttempt | None, error: Exception, *, begun: bool) -> Settled:
        """Settle a message by the type of the error that ended the work on it.

        `attempt` is None if no attempt has begun; `begun` tells whether the handler has received a valid task.
        """
        try:
            return await self._by_type(message, attempt, error, begun=begun)
        except FencedError as fenced:
            return await self.failed(message, attempt, fenced, begun=begun)
        except UnreadableError:  # by a running attempt: another worker has appended, and has the message
            if attempt is None or not attempt.runs:
                with suppress(NatsError):
                    return await self._deliver_later(message)
            return Settled(None)
        except (TransientError, NatsError) as broken:  # JetStream delivers the message again after TASK_ACK_WAIT
            log.warning("task_settlement_failed", error=in_words(broken))
            return Settled(None)

    async def release(self, message: Msg, attempt: TaskAttempt | None) -> Settled:
        """Return the message to its queue at once, so that another worker can take the task.

        Raises:
            FencedError: Another writer has appended to the task's log.
            TransientError: JetStream does not answer.
        """
        if attempt is not None and attempt.runs:
            await attempt.release()
        await message.nak()
        return Settled(State.QUEUED)

    async def _by_type(self, message: Msg, attempt: TaskAttempt | None, error: Exception, *, begun: bool) -> Settled:
        match error:
            case FencedError():
                return await self._fenced(message, attempt)
            case UnreadableError():
                raise error
            case StaleSegmentsError() | NotHeldError():
                log.info("delivery_found_stale", error=type(error).__name__)
                return await self.release(message, attempt)
            case AlreadyKnownError():
                return await self._already_known(message, attempt)
        if not begun:
            return await self._invalid(message)
        if attempt is None:
            log.error("task_registration_failed", error=str(error))
            return await self._deliver_later(message)
        return await self._attempt_failed(message, attempt, error)

    async def _fenced(self, message: Msg, attempt: TaskAttempt | None) -> Settled:
        if attempt is None:
            return Settled(None)
        last, stored = await self.log.last(attempt.record.event.task_id), StoredMessage.delivered(message)
        if last is None and await self.held(stored.subject, stored.sequence) is not None:
            # A deletion removes the message before the log: here the stream of logs was changed, and is put back soon.
            log.warning("task_log_found_empty")
            await message.nak(delay=EMPTY_LOG_DELAY_S)
            return Settled(None)
        log.info("task_fenced", by=last.event.state if last else "deletion")
        await attempt.clean_up(last)
        if last is None:
            await self.projection.withdraw(attempt.record)
        return Settled(None)

    async def _already_known(self, message: Msg, attempt: TaskAttempt | None) -> Settled:
        """Acknowledge the message of a task that has ended, or whose id belongs to another message.

        The dead letter of a failed task is stored first, in case it is missing.
        """
        stored = StoredMessage.delivered(message)
        if attempt is None:
            log.info("task_duplicated")
            self.meter.doubled(stored.queue)
            await message.ack()
            return Settled(None)
        last = attempt.record.event
        await self._keep_dead_letter(stored, last)
        await message.ack()
        return Settled(last.state, last.error) if attempt.has_ended else Settled(None)

    async def _attempt_failed(self, message: Msg, attempt: TaskAttempt, error: Exception) -> Settled:
        """Retry the task if that can help and attempts are left, else let it fail.

        If an outcome is stored already, the task ends with this outcome instead.
        """
        failure = _as_task_error(error)
        # Messages of other errors may name a file, which the log of the service must not contain.
        for_operators = failure.detail.code is ErrorCode.INTERNAL
        reason = failure.detail.message if for_operators else None
        log.warning("task_attempt_failed", error=failure.detail.code, reason=reason)
        if not attempt.record.event.state.ended:
            if not await attempt.end_as_decided():  # if the outcome is stored, only the last event is missing
                if attempt.record.event.state is State.QUEUED:
                    await attempt.start()  # the log shows `running` before it shows a failure
                if may_retry(attempt, failure):
                    return await self._retry(message, attempt, failure.detail)
                await attempt.fail(failure.detail)
            await self._keep_dead_letter(StoredMessage.delivered(message), attempt.record.event)
        await message.ack()
        return Settled(attempt.record.event.state, failure.detail)

    async def _retry(self, message: Msg, attempt: TaskAttempt, error: ErrorDetail) -> Settled:
        delay = self._delay(attempt.number)
        await attempt.retry(error, datetime.now(UTC) + timedelta(seconds=delay))
        await message.nak(delay=delay)
        return Settled(State.RETRYING, error)

    async def _keep_dead_letter(self, stored: StoredMessage, last: ProgressEvent) -> None:
        """Keep the dead letter of an ended task that has failed, unless the task is deleted at the same time."""
        if last.error is None:
            return
        await self.dead_letters.put(stored, last.task_id, last.error, attempts=last.attempt)
        if await self.log.last(last.task_id) is None:
            await self.dead_letters.delete_all(last.task_id)

    async def _deliver_later(self, message: Msg) -> Settled:
        await message.nak(delay=self._delay(1))
        return Settled(None)

    async def _invalid(self, message: Msg) -> Settled:
        """Store an invalid message as a dead letter and acknowledge it; append `failed` if its task id has no log.

        If the message is valid after all, have it delivered later.
        """
        stored = StoredMessage.delivered(message)
        problem, task_id = stored.problem, stored.task_id
        if problem is None:  # the message is a valid task, so the fault is in the worker
            log.error("task_begin_failed")
            return await self._deliver_later(message)
        if task_id is not None and await self._is_registered(stored, task_id):
            raise UnreadableError(stored.subject)
        log.warning("task_rejected", task_id=task_id, kind=stored.kind, error=problem.code)
        if task_id is not None:
            await self._append_invalid(stored, task_id, problem)
        await self.dead_letters.put(stored, task_id, problem, attempts=0)
        await message.ack()
        return Settled(State.FAILED, problem)

    async def _is_registered(self, stored: StoredMessage, task_id: str) -> bool:
        """Return whether a worker of a later version, which knows more fields of tasks, has registered this message."""
        task, last = stored.task, await self.log.last(task_id)
        if task is None or last is None or last.metadata.task != task:
            return False
        return stored.owns(last) or stored.replays(last, task)

    async def _append_invalid(self, stored: StoredMessage, task_id: str, problem: ErrorDetail) -> None:
        event = ProgressEvent(
            task_id=task_id,
            kind=stored.kind,
            priority=stored.priority,
            state=State.FAILED,
            max_attempts=self.max_attempts,
            sequence=1,
            error=problem,
            worker=self.log.worker,
            time=datetime.now(UTC),
        )
        with suppress(FencedError):  # the id belongs to another task, whose log stays unchanged
            await self.log.append(event, stored.metadata(None), after=0)

    def _delay(self, attempt: int) -> float:
        return delay_after(attempt, self.retry_delay, self.jitter())


def _as_task_error(error: Exception) -> TaskError:
    """Return the error as a TaskError; log any other error, and replace it with a general TransientError."""
    if isinstance(error, TaskError):
        return error
    log.error("task_broken", exc_info=error)
    return TransientError(ErrorCode.INTERNAL, "The service broke on this task: tell its operator the task id.")
