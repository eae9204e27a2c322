"""Delivery: a task message in the hands of this worker, from heartbeat to settling."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from structlog.contextvars import bind_contextvars

from app.delivery.attempt import TaskAttempt
from app.delivery.desk import Desk
from app.delivery.heartbeat import Heartbeat
from app.delivery.lost_speakers import speakers_are_given_up
from app.delivery.traced_attempt import TracedAttempt
from app.ending import finish
from app.log.entry import Entry
from app.queue.stored_message import StoredMessage
from app.queue.waiting import Place
from app.telemetry import tracing
from handlers.errors import AlreadyKnownError, OvertakenError, PassingError, PermanentError, TaskError
from handlers.ports import Task
from schemas import subjects
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import State

GIVE_BACK_WITHIN = 5.0  # seconds: without NATS there is nobody to give it back to

log = structlog.get_logger()


class TaskDelivery:
    """One delivery of one task message."""

    def __init__(self, desk: Desk, message: Msg, found: Callable[[], None]) -> None:
        """`found` is told once the result is there, and has only to be written down."""
        self._desk = desk
        self._result_found = found
        self._message = message
        self._received_at = time.monotonic()
        self.kind = subjects.kind_of(message.subject)
        self._heartbeat = Heartbeat(desk.nats, message, every=desk.heartbeat, notice=self._notice)
        self._begun = False
        self._worked_on = True
        self._attempt: TaskAttempt | None = None
        self._traced: TracedAttempt | None = None
        self._error: ErrorDetail | None = None
        self._completed = False  # the result was there already, only the last word was not

    async def begin(self, task: Task) -> TracedAttempt:
        """Own the task's next attempt (AlreadyKnownError, OvertakenError, PermanentError)."""
        self._begun = True
        stored = StoredMessage.delivered(self._message)
        bind_contextvars(task_id=task.task_id, trace_id=stored.trace_id)
        desk = self._desk
        entry = await desk.queue.open(task, stored, place=Place.at_once())
        tracing.link_to(entry.facts.span)
        self._attempt = attempt = TaskAttempt(desk.log, desk.results, entry, span=tracing.current(), hands=self)
        bind_contextvars(attempt=attempt.number)
        if entry.facts.started_at is not None:
            desk.meter.redelivered(self.kind)
        if entry.event.state.ended:
            raise AlreadyKnownError
        if entry.event.sequence > 1:
            await self._take_over(attempt)
        self._heartbeat.follow(attempt)
        if entry.event.sequence > 1 or desk.deliveries.is_first(self._message.reply):
            await attempt.start()
        self._traced = TracedAttempt(attempt, desk.tracer)
        return self._traced

    async def engine(self) -> None:
        """Wait for the worker's engine."""
        await self._desk.deliveries.engine(self._message.reply)

    def started(self, before: Entry) -> None:
        """Count a start."""
        if self._attempt is None:
            return
        meter, facts = self._desk.meter, self._attempt.entry.facts
        if before.facts.started_at is None and facts.started_at is not None:
            meter.waited(self.kind, max((facts.started_at - facts.created_at).total_seconds(), 0.0))
            tracing.waited(self._desk.tracer, facts.created_at)
        if self._attempt.checkpoint.processed_seconds:
            meter.resumed(self.kind, self._attempt.checkpoint.processed_seconds)

    def found(self) -> None:
        """Let the slot go on: the result is there, or what else becomes of the task."""
        self._worked_on = False
        self._result_found()
        self._desk.deliveries.found(self._message.reply)

    def _notice(self, attempt: TaskAttempt) -> None:
        if not self._worked_on:
            return
        self._desk.meter.beat(self.kind, since_progress=attempt.since_progress, running=attempt.running)

    def count_end(self, state: State | None, seconds: float) -> None:
        """Count how the delivery ended, and say so; None where another worker decides."""
        meter, attempt = self._desk.meter, self._attempt
        if self._traced is not None:
            self._traced.end()
        if state is State.COMPLETED:
            meter.completed(self.kind, seconds, attempt.audio_seconds if attempt else None)
        if self._error is not None and state in {State.FAILED, State.RETRYING}:
            meter.failed(self.kind, state, self._error.code, seconds)
        error = self._error.code if self._error else None  # its message is in the task's log, and may name a file
        log.info("task_delivery_ended", state=state, execution_time=round(seconds, 3), error=error)

    async def _take_over(self, attempt: TaskAttempt) -> None:
        """Find out how far the lost worker came (AlreadyKnownError, PermanentError)."""
        last = attempt.entry.event
        if await self._desk.results.find(last.task_id):
            await attempt.complete()
            self._completed = True
            raise AlreadyKnownError
        lost_for_good = last.state is State.RUNNING and last.attempt >= last.max_attempts
        if lost_for_good and not speakers_are_given_up(last):
            message = f"The worker was lost in attempt {last.attempt}, the last: look at the recording and the logs."
            raise PermanentError(ErrorCode.WORKER_LOST, message)

    async def work(self, handle: Callable[[], Awaitable[object]]) -> State | None:
        """Let the handler work under the heartbeat, then settle; how the task stands, None if another decides."""
        try:
            async with self._heartbeat.beating():
                await self._in_time(handle)
        except asyncio.CancelledError:  # only the slot cancels: it goes no further
            await finish(self._give_back())
            return State.QUEUED
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, the message must be settled
            self.found()
            return await self._settle(error)
        await self._desk.settler.done(self._message)
        return State.COMPLETED

    async def _give_back(self) -> None:
        """Have another worker go on, unless one does already: who was frozen, or unheard, takes nothing away."""
        running = self._attempt is not None and self._attempt.entry.event.state is State.RUNNING
        unsure = self._attempt is not None and self._attempt.unsure
        stale = not running and time.monotonic() - self._received_at > self._desk.heartbeat
        if unsure or stale:
            return  # it is delivered again after TASK_ACK_WAIT
        with suppress(OvertakenError, PassingError, NatsError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_WITHIN):
                await self._desk.settler.given_back(self._message, self._attempt)

    async def _in_time(self, handle: Callable[[], Awaitable[object]]) -> None:
        seconds = self._desk.timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await handle()
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"The attempt took longer than TASK_TIMEOUT ({seconds:g} s): split the recording or raise it."
            raise PassingError(ErrorCode.TIMEOUT, message) from error

    async def _settle(self, error: Exception) -> State | None:
        try:
            return await self._settle_by_type(error)
        except OvertakenError:
            return None
        except (PassingError, NatsError):
            log.exception("task_unsettled")  # it is delivered again after TASK_ACK_WAIT
            return None

    async def _settle_by_type(self, error: Exception) -> State | None:
        settler, attempt = self._desk.settler, self._attempt
        if isinstance(error, OvertakenError):
            log.info("task_overtaken")
            if attempt is not None and await attempt.withdraw():
                await self._desk.projection.withdraw(attempt.entry)
            return None
        if isinstance(error, AlreadyKnownError):
            return await self._already_known()
        if not self._begun:
            self._error = await settler.invalid(self._message)
            return State.FAILED if self._error else None
        if attempt is None:
            return await self._unopened(error)
        return await self._attempt_failed(attempt, error)

    async def _attempt_failed(self, attempt: TaskAttempt, error: Exception) -> State:
        if not attempt.entry.event.state.ended and await self._desk.results.find(attempt.entry.event.task_id):
            await attempt.complete()  # only the last word was missing
        if self._traced is not None:
            await attempt.start()
        failure = _as_task_error(error)
        self._error = failure.detail
        log.warning("task_attempt_failed", error=failure.detail.code)
        return await self._desk.settler.failed(self._message, attempt, failure)

    async def _unopened(self, error: Exception) -> State | None:
        log.error("task_unopened", error=str(error))
        await self._desk.settler.unopened(self._message)
        return None

    async def _already_known(self) -> State | None:
        attempt = self._attempt
        if attempt is None:
            log.info("task_doubled")
            self._desk.meter.doubled(self.kind)
        if attempt is not None and attempt.entry.event.state is State.FAILED:
            await self._desk.settler.buried(self._message, attempt.entry.event)
        else:
            await self._desk.settler.done(self._message)
        return State.COMPLETED if self._completed else None


def _as_task_error(error: Exception) -> TaskError:
    """What is to be said of an error that nobody foresaw."""
    if isinstance(error, TaskError):
        return error
    log.error("task_broken", exc_info=error)
    return PassingError(ErrorCode.INTERNAL, "The service broke on this task: tell its operator the task id.")
