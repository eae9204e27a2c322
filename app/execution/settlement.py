"""Settlement, the end of a delivery: ends, retries or releases the task, and settles the task message.

Three steps always have this order. First an event is appended to the task's log. If the task has failed for good, and
not because of its client, its message is then stored with the error, as a dead letter. At last the message is settled,
i.e. acknowledged or returned to its queue.
"""

import asyncio
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, State

from app.errors import FencedError, MessageGoneError, ObsoleteMessageError, TaskError, TransientError, describe
from app.execution.attempt import TaskAttempt
from app.execution.checkpoint import StaleSegmentsError
from app.execution.delivery import Delivery
from app.execution.retries import delay_after
from app.jetstream.records import UnreadableError
from app.retention.reminders import make_reminder_of_invalid
from app.telemetry.metrics import task_name

EMPTY_LOG_DELAY_S: Final = 2.0  # until the stream guard has restored a changed stream
RELEASE_TIMEOUT_S: Final = 5.0  # how long a stopping worker waits for NATS to release its message

log = structlog.get_logger()


class DeliveryOutcome(NamedTuple):
    """The outcome of one delivery.

    `state`: the new state of the task; None: this worker has not changed the task. `error`: the error of the attempt;
    None: it has not failed.
    """

    state: State | None = None
    error: ErrorDetail | None = None


async def completed(delivery: Delivery) -> DeliveryOutcome:
    """Acknowledge the message of a task whose result is stored, and return the outcome `completed`.

    A failed acknowledgement is only logged.
    """
    try:
        await delivery.acknowledge()
    except NatsError as broken:  # the worker that gets the message next finds the stored result
        log.warning("task_acknowledgement_failed", error=describe(broken))
    return DeliveryOutcome(State.COMPLETED)


async def stopped(delivery: Delivery) -> DeliveryOutcome:
    """Return the message to its queue because the worker stops, so that another worker can take the task at once.

    The message is not returned if JetStream may have redelivered it already. If it is not returned, JetStream
    redelivers it after TASK_ACK_WAIT.
    """
    if not delivery.may_be_redelivered:
        with suppress(FencedError, TransientError, NatsError, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await _release(delivery)
    return DeliveryOutcome(State.QUEUED)


async def failed(delivery: Delivery, error: Exception) -> DeliveryOutcome:
    """Settle the message of a delivery that ended with an error, according to the type of the error."""
    try:
        return await _by_type(delivery, error)
    except FencedError as fenced:
        return await failed(delivery, fenced)
    except UnreadableError:  # if the attempt runs, another worker has appended, and has the message
        if delivery.attempt is None or not delivery.attempt.is_running:
            with suppress(NatsError):
                await delivery.message.nak(delay=_delay(delivery, 1))
        return DeliveryOutcome()
    except (TransientError, NatsError) as broken:  # JetStream redelivers the message after TASK_ACK_WAIT
        log.warning("task_settlement_failed", error=describe(broken))
        return DeliveryOutcome()


async def _by_type(delivery: Delivery, error: Exception) -> DeliveryOutcome:
    attempt = delivery.attempt
    match error:
        case FencedError():
            return await _fenced(delivery, attempt) if attempt else DeliveryOutcome()
        case UnreadableError():
            raise error
        case StaleSegmentsError() | MessageGoneError():
            log.info("stale_delivery_released", error=type(error).__name__)
            await _release(delivery)
            return DeliveryOutcome(State.QUEUED)
        case ObsoleteMessageError():
            return await _obsolete(delivery)
    if attempt is not None:
        return await _attempt_failed(delivery, attempt, error)
    if delivery.task is not None:
        log.error("task_registration_failed", error=str(error))
    elif (problem := delivery.stored.problem) is not None:
        return await _invalid(delivery, problem)
    else:  # the message is a valid task, so the fault is in the worker
        log.error("task_start_failed")
    await delivery.message.nak(delay=_delay(delivery, 1))
    return DeliveryOutcome()


async def _release(delivery: Delivery) -> None:
    """Return the message to its queue at once; if the attempt runs, another worker can continue it."""
    if delivery.attempt is not None and delivery.attempt.is_running:
        await delivery.attempt.release()
    await delivery.message.nak()


async def _fenced(delivery: Delivery, attempt: TaskAttempt) -> DeliveryOutcome:
    execution, stored = delivery.execution, delivery.stored
    last = await execution.log.last(attempt.record.event.task_id)
    if last is None and await execution.messages.find(stored.subject, stored.sequence) is not None:
        # A deletion removes the message before the log. So the stream of logs was changed here, and will be restored.
        log.warning("task_log_found_empty")
        await delivery.message.nak(delay=EMPTY_LOG_DELAY_S)
        return DeliveryOutcome()
    log.info("task_fenced", by=last.event.state if last else "deletion")
    await attempt.clean_up(last)
    if last is None:
        await execution.projection.delete_result(attempt.record)
    if last is None or last.event.state is State.CANCELLED:
        await delivery.message.ack()
    return DeliveryOutcome()


async def _obsolete(delivery: Delivery) -> DeliveryOutcome:
    """Acknowledge a message that needs no processing: its task has ended, or its task id belongs to another message.

    If the task has failed, its dead letter is stored first, because the worker that ended it may not have done so.
    """
    attempt, outcome = delivery.attempt, DeliveryOutcome()
    if attempt is None:
        log.info("duplicate_task_skipped")
        delivery.execution.meter.duplicates.labels(task_name(delivery.lane)).inc()
    else:
        last = attempt.record.event
        await _store_dead_letter(delivery, last)
        if attempt.has_appended:
            outcome = DeliveryOutcome(last.state, last.error)
    await delivery.acknowledge()
    return outcome


async def _attempt_failed(delivery: Delivery, attempt: TaskAttempt, error: Exception) -> DeliveryOutcome:
    """Schedule a retry of the task if it can help and attempts are left; otherwise end the task as `failed`.

    If an outcome of the task is already stored, end the task according to this outcome instead.
    """
    failure = _as_task_error(error)
    # Other messages may name a file, which the log of the service must not contain.
    reason = failure.detail.message if failure.detail.code is ErrorCode.INTERNAL else None
    log.warning("task_attempt_failed", error=failure.detail.code, reason=reason)
    if not attempt.record.event.state.ended:
        if not await attempt.end_with_stored_outcome():  # if the outcome is stored, only the last event is missing
            if attempt.record.event.state.waits:
                await attempt.start()  # the log shows `running` before it shows a failure
            if isinstance(failure, TransientError) and attempt.has_attempts_left:
                return await _retry(delivery, attempt, failure.detail)
            await attempt.fail(failure.detail)
        await _store_dead_letter(delivery, attempt.record.event)
    await delivery.acknowledge()
    return DeliveryOutcome(attempt.record.event.state, failure.detail)


async def _retry(delivery: Delivery, attempt: TaskAttempt, error: ErrorDetail) -> DeliveryOutcome:
    delay = _delay(delivery, attempt.number)
    await attempt.retry(error, datetime.now(UTC) + timedelta(seconds=delay))
    await delivery.message.nak(delay=delay)
    await delivery.execution.messages.note_retry(delivery.stored)
    return DeliveryOutcome(State.RETRYING, error)


async def _store_dead_letter(delivery: Delivery, last: ProgressEvent) -> None:
    """Store the dead letter of a failed task if needed, and delete it again if the task was deleted at the same time.

    `last`: the last event of the task.
    """
    log, dead_letters = delivery.execution.log, delivery.execution.dead_letters
    if await dead_letters.put_failed(delivery.stored, last) and await log.last(last.task_id) is None:
        await dead_letters.delete_all(last.task_id)


async def _invalid(delivery: Delivery, problem: ErrorDetail) -> DeliveryOutcome:
    """Tell the publisher of an invalid task message that it failed, or else the operator; then acknowledge it.

    The publisher reads the log of the task id. If the message has no valid id, or the id of another task, it is stored
    as a dead letter. `problem`: what is wrong with the message.

    Raises:
        UnreadableError: A worker of a later version, for which the message is valid, has registered the task.
    """
    stored, task_id = delivery.stored, delivery.stored.task_id
    if task_id is not None and await _is_registered(delivery, task_id):
        raise UnreadableError(stored.subject)
    log.warning("task_rejected", task_id=task_id, kind=stored.kind, error=problem.code)
    if task_id is None or not await _tell_publisher(delivery, task_id, problem):
        await delivery.execution.dead_letters.put(stored, task_id, problem, attempts=0)
    await delivery.acknowledge()
    return DeliveryOutcome(State.FAILED, problem)


async def _tell_publisher(delivery: Delivery, task_id: str, problem: ErrorDetail) -> bool:
    """Append `failed` to the log of an invalid message; return False if the log belongs to another message.

    A reminder names the user of the message, if there is one, so that the deletion of the user finds the log.
    """
    stored, task_log = delivery.stored, delivery.execution.log
    attempts, metadata = delivery.execution.settings.max_attempts, stored.metadata(None)
    event = stored.first_event(
        task_id, None, State.FAILED, max_attempts=attempts, error=problem, worker=task_log.worker
    )
    with suppress(FencedError):  # the log has events: of this message, if it was delivered before, or of another one
        await task_log.append(event, metadata, after=0)
    if stored.user is not None:
        reminder = make_reminder_of_invalid(task_id, stored.user, metadata.owner)
        await delivery.execution.reminders.put_with_log(reminder, task_log)
    last = await task_log.last(task_id)
    return last is None or stored.owns(last)


async def _is_registered(delivery: Delivery, task_id: str) -> bool:
    """Return whether the task of an invalid message is registered, i.e. whether its log has a first event.

    If so, the message is valid for a later version of the service, and a worker of that version has registered the
    task.
    """
    stored, last = delivery.stored, await delivery.execution.log.last(task_id)
    task = stored.task
    if task is None or last is None or last.metadata.task != task:
        return False
    return stored.owns(last) or stored.replays(last, task)


def _delay(delivery: Delivery, attempt: int) -> float:
    return delay_after(attempt, delivery.execution.settings.task_retry_delay, random.random())  # noqa: S311 -- no secret


def _as_task_error(error: Exception) -> TaskError:
    """Return a TaskError unchanged; log any other error, and return a TransientError in its place, without details."""
    if isinstance(error, TaskError):
        return error
    log.error("task_broken", exc_info=error)
    return TransientError(ErrorCode.INTERNAL, "The service failed unexpectedly: report the task id to its operator.")
