"""A task run: everything that a worker does with one delivery of a task, from its heartbeat to its settlement."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import MOST_BETWEEN_EVENTS_S, State
from opentelemetry.trace import Tracer
from structlog.contextvars import bind_contextvars, bound_contextvars

from app.cancellation import Stop, despite_cancellation
from app.errors import AlreadyKnownError, FencedError, PermanentError, TransientError
from app.execution.attempt import TaskAttempt, speakers_are_given_up
from app.execution.heartbeat import Heartbeat
from app.execution.settlement import Settled, Settlement
from app.jetstream.connection_monitor import ConnectionMonitor
from app.queue.positions import Position
from app.queue.registration import Registration
from app.queue.speed import Speed
from app.queue.stored_message import StoredMessage
from app.task_log.log import TaskLog
from app.task_log.record import Record
from app.task_log.results import ResultStore
from app.telemetry import tracing
from app.telemetry.metrics import Meter, task_name
from app.updates import Task

RELEASE_TIMEOUT_S = 5.0  # how long a stopping worker tries to release its message, which fails without NATS
RECONNECTED_WITHIN_S = 5.0  # how long other workers may take to reconnect after an outage before this worker's start
LOG_READ_EVERY_S = 0.25  # pause between two reads of the log while a task run waits for the previous worker

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Execution:
    """The parts and settings that all task runs of a worker share."""

    nats: Client
    log: TaskLog
    registration: Registration
    results: ResultStore
    settlement: Settlement
    meter: Meter
    connection: ConnectionMonitor
    tracer: Tracer
    heartbeat: float  # seconds between two heartbeats
    ack_wait: float  # seconds without a heartbeat until JetStream delivers the message again
    timeout: float  # seconds that an attempt may stand still
    own_work: Callable[[], AbstractAsyncContextManager[None]]  # while the block runs, this worker is no helper
    speed: Speed = field(default_factory=Speed)


class TaskRun:
    """One task run: calls the handler while the heartbeat beats, then settles the message."""

    def __init__(self, execution: Execution, message: Msg) -> None:
        self._execution = execution
        self._message = message
        self._received_at = time.monotonic()
        self.queue, _ = subjects.queue_of(message.subject)
        self._spans = tracing.StageSpans(execution.tracer)
        self._heartbeat = Heartbeat(execution.nats, message, every=execution.heartbeat, notice=self._notice)
        self._begun = False
        self._attempt: TaskAttempt | None = None

    async def begin(self, task: Task) -> TaskAttempt:
        """Start the next attempt of the task, or continue the current one, and return the attempt.

        Raises:
            AlreadyKnownError: The task has ended, or its id belongs to another message.
            NotHeldError: The task was deleted.
            FencedError: Another worker runs the task.
            PermanentError: The worker was lost in the last allowed attempt.
            TransientError: JetStream does not answer.
        """
        self._begun = True
        execution, stored = self._execution, StoredMessage.delivered(self._message)
        bind_contextvars(task_id=task.task_id, user_id=task.user_id, trace_id=stored.trace_id)
        record = await execution.registration.register(task, stored, position=Position.immediate())
        tracing.link_to(record.metadata.span)
        self._attempt = attempt = TaskAttempt(execution.log, execution.results, record, self._spans)
        bind_contextvars(attempt=attempt.number)
        if record.metadata.started_at is not None:
            execution.meter.redelivered(self.queue)
        if record.event.state.ended:
            raise AlreadyKnownError
        if record.event.sequence > 1:
            await self._check_previous_attempt(attempt)
        self._heartbeat.follow(attempt)
        await attempt.start(tracing.current())
        self._count_start(record, attempt)
        return attempt

    async def work(self, handle: Callable[[], Awaitable[object]]) -> None:
        """Run the handler under the heartbeat, settle the message, and count the outcome in the metrics."""
        meter = self._execution.meter
        began_at = time.monotonic()
        known = {"task_name": task_name(self.queue), "worker": self._execution.log.worker}
        async with self._execution.own_work():
            with (
                meter.in_progress(self.queue),
                bound_contextvars(**known, task_id=None, user_id=None, attempt=None, trace_id=None),
            ):
                settled = await self._settle(handle)
                self._spans.end()
                self._count_end(settled, time.monotonic() - began_at)

    async def _settle(self, handle: Callable[[], Awaitable[object]]) -> Settled:
        settlement = self._execution.settlement
        try:
            async with self._heartbeat.beating():
                await self._in_time(handle)
        except asyncio.CancelledError:  # only the consumer cancels, when its worker stops
            await despite_cancellation(self._release())
            return Settled(State.QUEUED)
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, the message must be settled
            return await settlement.failed(self._message, self._attempt, error, begun=self._begun)
        return await settlement.completed(self._message)

    async def _in_time(self, handle: Callable[[], Awaitable[object]]) -> None:
        timeout = self._execution.timeout
        message = (
            f"The attempt made no progress for TASK_TIMEOUT ({timeout:g} s): "
            "the operator can look into the worker's log, or raise it."
        )
        async with Stop(TransientError(ErrorCode.TIMEOUT, message), after=timeout, since=self._seconds_still):
            await handle()

    def _seconds_still(self) -> float:
        """Return the seconds since the last progress; infinite while no attempt has begun."""
        return self._attempt.seconds_since_progress if self._attempt else math.inf

    async def _check_previous_attempt(self, attempt: TaskAttempt) -> None:
        """Raise an error if the previous attempt goes on, has ended the task, or was lost and was the last allowed."""
        last = attempt.record.event
        if last.state is State.RUNNING:
            await self._wait_for_previous_worker(attempt)
        if await attempt.end_as_decided():
            raise AlreadyKnownError
        lost_for_good = last.state is State.RUNNING and last.attempt >= last.max_attempts
        if lost_for_good and not speakers_are_given_up(last):
            message = f"The worker was lost in attempt {last.attempt}, the last: look at the recording and the logs."
            raise PermanentError(ErrorCode.WORKER_LOST, message)

    async def _wait_for_previous_worker(self, attempt: TaskAttempt) -> None:
        """Wait a while for an append of the previous worker, which may have been silent only because of an outage.

        JetStream delivers a message again if its delivery expired in an outage, even if its worker has recovered since.
        If the previous worker appends, FencedError leaves the task to that worker.
        """
        execution, connection = self._execution, self._execution.connection
        silent = (datetime.now(UTC) - attempt.record.event.time).total_seconds()
        lost_after = min(MOST_BETWEEN_EVENTS_S, execution.ack_wait)  # seconds of silence
        outage = max(
            MOST_BETWEEN_EVENTS_S - connection.seconds_since_restored,
            RECONNECTED_WITHIN_S - connection.seconds_since_made,
        )
        patience = max(outage, min(lost_after - silent, lost_after), 0.0)
        give_up_at = time.monotonic() + patience
        while time.monotonic() < give_up_at:
            await asyncio.sleep(LOG_READ_EVERY_S)
            await attempt.check()

    async def _release(self) -> None:
        """Release the message, unless another worker may have received it already or the end of the log is unknown."""
        attempt = self._attempt
        running = attempt is not None and attempt.runs
        unsure = attempt is not None and attempt.unsure
        stale = not running and time.monotonic() - self._received_at > self._execution.heartbeat
        if unsure or stale:
            return  # JetStream delivers the message again after TASK_ACK_WAIT
        with suppress(FencedError, TransientError, NatsError, TimeoutError):
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._execution.settlement.release(self._message, attempt)

    def _notice(self, attempt: TaskAttempt) -> None:
        self._execution.meter.beat(
            self.queue, since_progress=attempt.seconds_since_progress, running=attempt.seconds_since_begin
        )

    def _count_start(self, before: Record, attempt: TaskAttempt) -> None:
        log.info("task_started", audio_seconds=StoredMessage.delivered(self._message).audio_seconds)
        meter, metadata = self._execution.meter, attempt.record.metadata
        if before.metadata.started_at is None and metadata.started_at is not None:
            meter.waited(self.queue, max((metadata.started_at - metadata.created_at).total_seconds(), 0.0))
            tracing.waited(self._execution.tracer, metadata.created_at)
        if attempt.checkpoint.processed_seconds:
            meter.resumed(self.queue, attempt.checkpoint.processed_seconds)

    def _note_speed(self, seconds: float) -> None:
        """Note how long this worker took for the recording, unless an earlier attempt or task did part of the work."""
        attempt = self._attempt
        if (
            attempt is not None
            and not attempt.cached
            and not attempt.checkpoint.processed_seconds
            and attempt.audio_seconds
        ):
            self._execution.speed.note(self.queue, audio_seconds=attempt.audio_seconds, seconds=seconds)

    def _count_end(self, settled: Settled, seconds: float) -> None:
        meter, attempt, error = self._execution.meter, self._attempt, settled.error
        if settled.state is State.COMPLETED:
            audio = (attempt.audio_seconds, attempt.untranscribed_seconds) if attempt else (None, 0.0)
            meter.completed(self.queue, seconds, *audio)
            self._note_speed(seconds)
        if error is not None and settled.state in {State.FAILED, State.RETRYING}:
            meter.failed(self.queue, settled.state, error.code, seconds)
        log.info(
            "task_delivery_ended",
            state=settled.state,
            execution_time=round(seconds, 3),
            audio_seconds=attempt.audio_seconds if attempt else None,
            cached=attempt.cached if attempt else None,
            error=error.code if error else None,  # its message may name a file: that is only in the task's log
        )
