"""Delivery: a task message in the hands of this worker, from heartbeat to settling."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from structlog.contextvars import bind_contextvars

from app.cancellation import despite_cancellation
from app.errors import AlreadyKnownError, FencedError, PermanentError, TransientError
from app.execution.attempt import TaskAttempt
from app.execution.heartbeat import Heartbeat
from app.execution.lost_speakers import speakers_are_given_up
from app.execution.outcome import Outcome
from app.execution.stages import StageSpans
from app.execution.tools import DeliveryTools
from app.queue.positions import Position
from app.queue.stored_message import StoredMessage
from app.task_log.record import Record
from app.telemetry import tracing
from app.updates import Checkpoint, Result, Task, Update
from schemas import subjects
from schemas.errors import ErrorCode
from schemas.progress import State

GIVE_BACK_WITHIN = 5.0  # seconds: without NATS there is nobody to give it back to

HEARD_WITHIN = 10.0  # seconds: so often a running task is heard from
BACK_WITHIN = 5.0  # seconds: by then workers are connected again and beat, after an outage that this one did not see
LOOK_EVERY = 0.25  # seconds

log = structlog.get_logger()


class TaskDelivery:
    """One delivery of one task message."""

    def __init__(self, tools: DeliveryTools, message: Msg) -> None:
        self._tools = tools
        self._message = message
        self._received_at = time.monotonic()
        self.kind = subjects.kind_of(message.subject)
        self._heartbeat = Heartbeat(tools.nats, message, every=tools.heartbeat, notice=self._notice)
        self._outcome = Outcome(tools, message)
        self._begun = False
        self._attempt: TaskAttempt | None = None
        self._stages: StageSpans | None = None

    async def begin(self, task: Task) -> Checkpoint:
        """Own the task's next attempt, and where it goes on (AlreadyKnownError, FencedError, PermanentError)."""
        self._begun = True
        stored = StoredMessage.delivered(self._message)
        bind_contextvars(task_id=task.task_id, trace_id=stored.trace_id)
        tools = self._tools
        record = await tools.registration.register(task, stored, position=Position.immediate())
        tracing.link_to(record.metadata.span)
        attempt = TaskAttempt(tools.log, tools.results, record, started=self._count_start, span=tracing.current())
        self._attempt = attempt
        bind_contextvars(attempt=attempt.number)
        if record.metadata.started_at is not None:
            tools.meter.redelivered(self.kind)
        if record.event.state.ended:
            raise AlreadyKnownError
        if record.event.sequence > 1:
            await self._take_over(attempt)
        self._heartbeat.follow(attempt)
        await attempt.start()
        self._stages = StageSpans(tools.tracer)
        return attempt.checkpoint

    async def append(self, update: Update | Result) -> None:
        """Write an update to the task's log, and into the trace (FencedError, TransientError)."""
        if self._attempt is None or self._stages is None:
            message = "a delivery that was not begun"
            raise RuntimeError(message)
        self._stages.enter(update)
        await self._attempt.append(update)

    async def work(self, handle: Callable[[], Awaitable[object]]) -> State | None:
        """Let the handler work under the heartbeat, then settle; how the task stands, None if another decides."""
        try:
            async with self._heartbeat.beating():
                await self._in_time(handle)
        except asyncio.CancelledError:  # only the consumer cancels: it goes no further
            await despite_cancellation(self._give_back())
            return State.QUEUED
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, the message must be settled
            return await self._outcome.failed(error, self._attempt, begun=self._begun)
        return await self._outcome.completed()

    def count_end(self, state: State | None, seconds: float) -> None:
        """Count how the delivery ended, and say so; None where another worker decides."""
        meter, attempt, error = self._tools.meter, self._attempt, self._outcome.error
        if self._stages is not None:
            self._stages.end()
        if state is State.COMPLETED:
            audio = (attempt.audio_seconds, attempt.untranscribed_seconds) if attempt else (None, 0.0)
            meter.completed(self.kind, seconds, *audio)
        if error is not None and state in {State.FAILED, State.RETRYING}:
            meter.failed(self.kind, state, error.code, seconds)
        code = error.code if error else None  # its message is in the task's log, and may name a file
        log.info("task_delivery_ended", state=state, execution_time=round(seconds, 3), error=code)

    def _count_start(self, before: Record) -> None:
        if self._attempt is None:
            return
        log.info("task_started")
        meter, metadata = self._tools.meter, self._attempt.record.metadata
        if before.metadata.started_at is None and metadata.started_at is not None:
            meter.waited(self.kind, max((metadata.started_at - metadata.created_at).total_seconds(), 0.0))
            tracing.waited(self._tools.tracer, metadata.created_at)
        if self._attempt.checkpoint.processed_seconds:
            meter.resumed(self.kind, self._attempt.checkpoint.processed_seconds)

    def _notice(self, attempt: TaskAttempt) -> None:
        self._tools.meter.beat(self.kind, since_progress=attempt.since_progress, running=attempt.running)

    async def _take_over(self, attempt: TaskAttempt) -> None:
        """Find out how far the lost worker came (AlreadyKnownError, FencedError, PermanentError)."""
        last = attempt.record.event
        if last.state is State.RUNNING:
            await self._hear_its_worker(attempt)
        if await attempt.end_as_decided():
            raise AlreadyKnownError
        lost_for_good = last.state is State.RUNNING and last.attempt >= last.max_attempts
        if lost_for_good and not speakers_are_given_up(last):
            message = f"The worker was lost in attempt {last.attempt}, the last: look at the recording and the logs."
            raise PermanentError(ErrorCode.WORKER_LOST, message)

    async def _hear_its_worker(self, attempt: TaskAttempt) -> None:
        """Leave the task to whoever runs it, if that worker was not lost, but unheard for a while (FencedError).

        A delivery that ran out in an outage is handed out long after it, though its worker beats again.
        """
        heard_ago = (datetime.now(UTC) - attempt.record.event.time).total_seconds()
        silence = min(HEARD_WITHIN, self._tools.ack_wait)  # after which a worker is lost
        connection = self._tools.connection
        outage = max(
            HEARD_WITHIN - connection.seconds_since_restored, min(silence, BACK_WITHIN) - connection.seconds_since_made
        )
        patience = max(outage, min(silence - heard_ago, silence), 0.0)
        give_up_at = time.monotonic() + patience
        while time.monotonic() < give_up_at:
            await asyncio.sleep(LOOK_EVERY)
            await attempt.check()

    async def _in_time(self, handle: Callable[[], Awaitable[object]]) -> None:
        seconds = self._tools.timeout
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                await handle()
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"The attempt took longer than TASK_TIMEOUT ({seconds:g} s): split the recording or raise it."
            raise TransientError(ErrorCode.TIMEOUT, message) from error

    async def _give_back(self) -> None:
        """Have another worker go on, unless one does already: who was frozen, or unheard, takes nothing away."""
        running = self._attempt is not None and self._attempt.runs
        unsure = self._attempt is not None and self._attempt.unsure
        stale = not running and time.monotonic() - self._received_at > self._tools.heartbeat
        if unsure or stale:
            return  # it is delivered again after TASK_ACK_WAIT
        with suppress(FencedError, TransientError, NatsError, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_WITHIN):
                await self._tools.settler.given_back(self._message, self._attempt)
