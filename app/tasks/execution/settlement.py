"""Settlement, the end of a delivery: carries out what `decide` says about the log, dead letters and the grant.

Three steps always have this order. First an event is appended to the task's log. If the task has failed for good, and
not because of its client, its message is then stored with the error, as a dead letter. At last the grant is settled,
i.e. acknowledged or returned to JetStream.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State

from app.runtime.errors import (
    FencedError,
    InvalidTaskError,
    MessageGoneError,
    ObsoleteMessageError,
    ReportedError,
    TaskError,
    TransientError,
    describe,
)
from app.storage.jetstream.records import UnreadableError
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.checkpoint import StaleSegmentsError
from app.tasks.execution.decision import FAILURES, Append, Decision, Ending, LogState, Settle, decide
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.retries import delay_after
from app.tasks.projection.projection import RedisProjection
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.retention.reminders import Reminders, make_reminder_of_invalid
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record

RESTORED_AFTER_S: Final = 2.0  # until the stream guard has restored a changed stream
RELEASE_TIMEOUT_S: Final = 5.0  # how long a stopping worker waits for NATS to release its message

# The errors that end an attempt, by type; any other error is a fault, and a retry may help.
ENDINGS: Final[tuple[tuple[tuple[type[Exception], ...], Ending], ...]] = (
    ((FencedError,), Ending.FENCED),
    ((UnreadableError,), Ending.UNREADABLE),
    ((StaleSegmentsError, MessageGoneError), Ending.STALE),
    ((ObsoleteMessageError,), Ending.OBSOLETE),
    ((InvalidTaskError,), Ending.INVALID),
    ((TransientError,), Ending.TRANSIENT),
    ((TaskError,), Ending.PERMANENT),
)
UNEXPECTED: Final = ErrorDetail(
    code=ErrorCode.INTERNAL, message="The service failed unexpectedly: report the task id to its operator."
)

log = structlog.get_logger()


class DeliveryOutcome(NamedTuple):
    """The outcome of one delivery.

    `log`: what the log of the task said; None: it could not be settled. `state`: the new state of the task; None: this
    worker has not changed the task. `error`: the error of the attempt; None: it has not failed.
    """

    ending: Ending
    log: LogState | None = None
    state: State | None = None
    error: ErrorDetail | None = None


class _End(NamedTuple):
    """How an attempt ended; `error`: its failure, or what is wrong with the message."""

    ending: Ending
    error: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """Settles deliveries.

    `projection`: the copies of states and results in Redis. `retry_delay`: the seconds before the first retry.
    """

    log: TaskLog
    messages: TaskMessages
    dead_letters: DeadLetterStore
    reminders: Reminders
    projection: RedisProjection
    max_attempts: int
    retry_delay: float

    async def settle(self, delivery: Delivery, error: Exception | None = None) -> DeliveryOutcome:
        """Settle a delivery whose attempt has ended with `error`; None: it has stored the result of the task.

        If JetStream does not answer, it delivers the message again after TASK_ACK_WAIT.
        """
        end = _end_of(error)
        try:
            return await self._settle(delivery, end)
        except UnreadableError as unreadable:
            return await self.settle(delivery, unreadable)
        except FencedError as fenced:
            # The log of an invalid message was empty when it was read: the next delivery reads it again.
            is_invalid = end.ending is Ending.INVALID
            return await self.settle(delivery, UnreadableError(delivery.stored.subject) if is_invalid else fenced)
        except (TransientError, NatsError) as broken:
            log.warning("task_settlement_failed", error=describe(broken))
            return _outcome(delivery, end)

    async def release(self, delivery: Delivery) -> DeliveryOutcome:
        """Return the message to JetStream because the worker stops, so that another worker can take the task at once.

        If the message is not returned, JetStream redelivers it after TASK_ACK_WAIT.
        """
        with suppress(FencedError, TransientError, UnreadableError, NatsError, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                return await self._settle(delivery, _End(Ending.STOPPED))
        return DeliveryOutcome(Ending.STOPPED)

    async def _settle(self, delivery: Delivery, end: _End) -> DeliveryOutcome:
        attempt, stored = delivery.attempt, delivery.stored
        state, last = await self._read_log(delivery, end.ending)
        _report(delivery, end, state)
        decision = decide(end.ending, state, has_attempts_left=attempt is not None and attempt.has_attempts_left)
        number = attempt.number if attempt else 1
        delay = delay_after(number, self.retry_delay, random.random())  # noqa: S311 -- no secret
        if attempt is not None:
            await _append(decision.append, attempt, end.error, retry_at=datetime.now(UTC) + timedelta(seconds=delay))
            if decision.clean_up:
                await self._clean_up(attempt, last)
        elif decision.append is Append.FAILED and end.error is not None:
            await self._reject(stored, end.error)
        if decision.settle is Settle.END:
            await self._store_dead_letter(delivery, end, problem=end.error if decision.dead_letter else None)
        await self._settle_grant(delivery, decision, delay)
        return _outcome(delivery, end, state)

    async def _read_log(self, delivery: Delivery, ending: Ending) -> tuple[LogState, Record | None]:
        """Return what the log of the task says, and its last record if that had to be read."""
        attempt = delivery.attempt
        if ending is Ending.INVALID:
            return await self._read_log_of_invalid(delivery.stored), None
        if attempt is not None and ending is Ending.FENCED:
            return await self._read_log_of_others(delivery, attempt)
        if ending is Ending.STOPPED and delivery.may_be_redelivered:
            return LogState.UNSURE, None
        if attempt is None:
            return LogState.UNREAD, None
        return await self._read_own_log(attempt, ending), None

    async def _read_own_log(self, attempt: TaskAttempt, ending: Ending) -> LogState:
        """Return what the log says if this attempt has appended or read its last record."""
        last = attempt.record.event.state
        if last.ended:
            return LogState.ENDED
        if ending in FAILURES and await self.log.outcome(attempt.record) is not None:
            return LogState.OUTCOME
        if attempt.is_running:
            return LogState.RUNNING
        return LogState.TAKEN if last is State.RUNNING else LogState.WAITING

    async def _read_log_of_others(self, delivery: Delivery, attempt: TaskAttempt) -> tuple[LogState, Record | None]:
        """Return what the log says after another writer has appended to it, and its last record."""
        last, stored = await self.log.last(attempt.record.event.task_id), delivery.stored
        if last is not None:
            return LogState.CANCELLED if last.event.state is State.CANCELLED else LogState.TAKEN, last
        # A deletion removes the message before the log. If the message is there, the stream of logs was changed, and
        # will be restored.
        is_held = await self.messages.find(stored.subject, stored.sequence) is not None
        return LogState.EMPTY if is_held else LogState.DELETED, None

    async def _read_log_of_invalid(self, stored: StoredMessage) -> LogState:
        """Return what the log of the task id of an invalid message says; `TAKEN` if the message has no valid id."""
        task_id, task = stored.task_id, stored.task
        if task_id is None:
            return LogState.TAKEN
        last = await self.log.last(task_id)
        if last is None:
            return LogState.EMPTY
        is_own = stored.owns(last)
        if task is not None and last.metadata.task == task and (is_own or stored.replays(last, task)):
            return LogState.LATER_VERSION
        return LogState.ENDED if is_own else LogState.TAKEN

    async def _reject(self, stored: StoredMessage, problem: ErrorDetail) -> None:
        """Append `failed` to the empty log of an invalid message, where its publisher reads it."""
        event = stored.first_event(
            str(stored.task_id),
            None,
            State.FAILED,
            max_attempts=self.max_attempts,
            error=problem,
            worker=self.log.worker,
        )
        await self.log.append(event, stored.metadata(None), after=0)

    async def _clean_up(self, attempt: TaskAttempt, last: Record | None) -> None:
        await attempt.clean_up(last)
        if last is None:
            await self.projection.delete_result(attempt.record)

    async def _store_dead_letter(self, delivery: Delivery, end: _End, *, problem: ErrorDetail | None) -> None:
        """Store the dead letter of a failed task if needed, and delete it again if the task was deleted meanwhile.

        If there is no attempt because the message is invalid, a reminder names its user, so that the deletion of the
        user finds the log. `problem`: of a message whose publisher cannot be told; it becomes a dead letter.
        """
        stored, attempt = delivery.stored, delivery.attempt
        if problem is not None:
            await self.dead_letters.put(stored, stored.task_id, problem, attempts=0)
        elif attempt is not None:
            failed = attempt.record.event
            if await self.dead_letters.put_failed(stored, failed) and await self.log.last(failed.task_id) is None:
                await self.dead_letters.delete_all(failed.task_id)
        elif end.ending is Ending.INVALID and stored.user is not None:
            reminder = make_reminder_of_invalid(str(stored.task_id), stored.user, stored.metadata(None).owner)
            await self.reminders.put_with_log(reminder, self.log)

    async def _settle_grant(self, delivery: Delivery, decision: Decision, delay: float) -> None:
        grant, stored = delivery.grant, delivery.stored
        match decision.settle:
            case Settle.END:
                seconds = delivery.attempt.audio_seconds if delivery.attempt else None
                await self.messages.delete(stored, seconds=seconds, by_worker=True)
                await grant.ack()
            case Settle.ACKNOWLEDGE:
                await grant.ack()
            case Settle.RETURN:
                await grant.nak()
            case Settle.RESTORE:
                await grant.nak(delay=RESTORED_AFTER_S)
            case Settle.RETRY:
                await grant.nak(delay=delay)
                if decision.append is Append.RETRYING:
                    await self.messages.note_retry(stored)


async def _append(
    append: Append | None, attempt: TaskAttempt, error: ErrorDetail | None, *, retry_at: datetime
) -> None:
    match append, error:
        case Append.QUEUED, _:
            await attempt.release()
        case Append.OUTCOME, _:
            if not await attempt.end_with_stored_outcome():
                raise FencedError  # another writer has deleted it: it has appended to the log, or deletes the task
        case Append.RETRYING, ErrorDetail():
            await attempt.retry(error, retry_at)
        case Append.FAILED, ErrorDetail():
            await attempt.fail(error)


def _end_of(error: Exception | None) -> _End:
    """Return how an attempt ended; an error that is no error of a task is logged, and reported without details."""
    if error is None:
        return _End(Ending.COMPLETED)
    ending = next((ending for types, ending in ENDINGS if isinstance(error, types)), None)
    if ending is not None:
        return _End(ending, error.detail if isinstance(error, ReportedError) else None)
    if isinstance(error, NatsError):
        log.error("task_broken", error=describe(error))
    else:
        log.error("task_broken", exc_info=error)
    return _End(Ending.TRANSIENT, UNEXPECTED)


def _outcome(delivery: Delivery, end: _End, state: LogState | None = None) -> DeliveryOutcome:
    attempt = delivery.attempt
    if attempt is None:
        return DeliveryOutcome(end.ending, state, State.FAILED if end.ending is Ending.INVALID else None, end.error)
    if end.ending in {Ending.FENCED, Ending.UNREADABLE} or not attempt.has_appended:
        return DeliveryOutcome(end.ending, state, error=end.error)
    last = attempt.record.event
    return DeliveryOutcome(end.ending, state, last.state, end.error or last.error)


def _report(delivery: Delivery, end: _End, state: LogState) -> None:
    """Log what an operator may have to act on."""
    code = end.error.code if end.error else None
    # Other messages may name a file, which the log of the service must not contain.
    reason = end.error.message if end.error and code is ErrorCode.INTERNAL else None
    match end.ending, state:
        case Ending.INVALID, _:
            log.warning("task_rejected", task_id=delivery.stored.task_id, kind=delivery.stored.kind, error=code)
        case ((Ending.TRANSIENT | Ending.PERMANENT), LogState.UNREAD):
            log.error("task_registration_failed", error=code, reason=reason)
        case ((Ending.TRANSIENT | Ending.PERMANENT), _):
            log.warning("task_attempt_failed", error=code, reason=reason)
        case Ending.FENCED, LogState.EMPTY:
            log.warning("task_log_found_empty")
