"""A delivery of a task message by JetStream to this worker, with the attempt at the task that it starts."""

import asyncio
import math
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from nats.aio.client import Client
from natscribe.jetstream.streams import LIVE_ACK_WAIT_S
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import due_at
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, State
from natscribe.schemas.wire import Lane
from opentelemetry.trace import Tracer
from structlog.contextvars import bind_contextvars

from app.cancellation import StopScope
from app.dead_letters.store import DeadLetterStore
from app.errors import ObsoleteMessageError, PermanentError, TransientError
from app.execution.attempt import TaskAttempt
from app.execution.retries import diarization_is_given_up
from app.jetstream.connection_monitor import ConnectionMonitor
from app.queue.granted_task import GrantedTask
from app.queue.positions import FIRST
from app.queue.registration import Registration
from app.queue.task_messages import TaskMessages
from app.redis_store.projection import RedisProjection
from app.retention.reminders import Reminders
from app.settings import Settings
from app.task_log.log import TaskLog
from app.task_log.record import Record
from app.task_log.results import ResultStore
from app.telemetry import tracing
from app.telemetry.metrics import Meter, task_name
from app.updates import Task
from app.work_sharing.sharing import WorkSharing

LIVE_HEARTBEATS = 4  # heartbeats of a live task within its acknowledgement timeout
RECONNECTED_WITHIN_S = 5.0  # other workers reconnect within this time after this worker has
LOG_POLL_INTERVAL_S = 0.25  # between two reads of the log while a delivery waits for the previous worker

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """The components and settings that all deliveries of this worker share.

    `log`: the logs of all tasks. `projection`: the copies of states and results in Redis. `connection`: records
    outages of the connection to NATS. `sharing`: transcribes no windows of other workers while this worker runs a task.
    """

    nats: Client
    settings: Settings
    log: TaskLog
    messages: TaskMessages
    registration: Registration
    results: ResultStore
    dead_letters: DeadLetterStore
    reminders: Reminders
    projection: RedisProjection
    connection: ConnectionMonitor
    sharing: WorkSharing
    meter: Meter
    tracer: Tracer
    ack_wait: float  # seconds without a heartbeat until JetStream delivers a message again


class Delivery:
    """One delivery of a task message to this worker.

    `attempt`: the attempt at the task that this delivery has started; None: it has not started one yet.
    """

    def __init__(self, execution: ExecutionContext, granted: GrantedTask) -> None:
        self.execution = execution
        self.message = granted.raw_message  # to settle it settles the grant
        self.stored = granted.stored
        self.lane = self.stored.lane
        self.task: Task | None = None  # None: the handler has not received a valid task
        self.attempt: TaskAttempt | None = None
        self.spans = tracing.StageSpans(execution.tracer)
        self._received_at = time.monotonic()
        settings, self._ack_wait = execution.settings, execution.ack_wait
        self.heartbeat = settings.task_heartbeat * self._ack_wait / settings.task_ack_wait  # interval in s
        if self.lane is Lane.LIVE:
            self._ack_wait = min(self._ack_wait, LIVE_ACK_WAIT_S)
            self.heartbeat = self._ack_wait / LIVE_HEARTBEATS
        message_of_timeout = (
            f"The attempt made no progress for TASK_TIMEOUT ({settings.task_timeout:g} s): "
            "the operator can read the worker's log, or raise it."
        )
        self.stop = StopScope(
            TransientError(ErrorCode.TIMEOUT, message_of_timeout),
            after=settings.task_timeout,
            since=self._seconds_without_progress,
        )

    @property
    def seconds(self) -> float:
        """The seconds since this worker received the message."""
        return time.monotonic() - self._received_at

    @property
    def may_be_redelivered(self) -> bool:
        """Whether JetStream may have redelivered the message already: then this worker must not return it to its queue.

        JetStream may have done so if heartbeats may have failed, or if it is unknown whether the last append to the log
        was stored.
        """
        if self.attempt is not None and (self.attempt.is_running or self.attempt.is_unsure):
            return self.attempt.is_unsure
        return self.seconds > self.heartbeat

    async def begin(self, task: Task) -> TaskAttempt:
        """Start the next attempt at the task, or continue an attempt that another worker has released; return it.

        Raises:
            ObsoleteMessageError: The task has ended, or its id belongs to another message.
            MessageGoneError: The task was deleted.
            FencedError: Another worker runs the task.
            PermanentError: The worker of the last allowed attempt was lost.
            TransientError: JetStream does not reply.
        """
        self.task, execution = task, self.execution
        bind_contextvars(
            task_id=task.task_id, trace_id=self.stored.trace_id
        )  # no user: the log outlives the user's data
        record = await execution.registration.register(task, self.stored, position=FIRST)
        tracing.link_to(record.metadata.span)
        self.attempt = attempt = TaskAttempt(execution.log, execution.results, record, self.spans)
        bind_contextvars(attempt=attempt.number)
        if record.metadata.started_at is not None:
            execution.meter.redeliveries.labels(task_name(self.lane)).inc()
        if record.event.state.ended:
            raise ObsoleteMessageError
        if record.event.sequence > 1:
            await self._check_previous_attempt(attempt)
        await attempt.start(tracing.current_traceparent())
        self._report_start(record, attempt)
        return attempt

    async def acknowledge(self) -> None:
        """Delete the task message, because the task has ended, then acknowledge the grant that let it start.

        Raises:
            NatsError: NATS does not answer: the grant is delivered again, even if the task message was deleted.
        """
        seconds = self.attempt.audio_seconds if self.attempt else None
        await self.execution.messages.delete(self.stored, seconds=seconds, by_worker=True)
        await self.message.ack()

    def _seconds_without_progress(self) -> float:
        """Return the seconds since the attempt's last progress; infinity before the attempt has started."""
        return self.attempt.seconds_since_progress if self.attempt else math.inf

    async def _check_previous_attempt(self, attempt: TaskAttempt) -> None:
        """Check that the previous attempt at the task is over and allows this one.

        Raises:
            FencedError: The previous attempt still runs.
            ObsoleteMessageError: The previous attempt has stored an outcome.
            PermanentError: The previous attempt was the last allowed one, and its worker was lost.
            TransientError: JetStream does not reply.
        """
        last = attempt.record.event
        if last.state is State.RUNNING:
            await self._wait_for_previous_worker(attempt)
        if await attempt.end_with_stored_outcome():
            raise ObsoleteMessageError
        lost_for_good = last.state is State.RUNNING and last.attempt >= last.max_attempts
        if lost_for_good and not diarization_is_given_up(last):
            message = f"The worker was lost in attempt {last.attempt}, the last: check the recording and the logs."
            raise PermanentError(ErrorCode.WORKER_LOST, message)

    async def _wait_for_previous_worker(self, attempt: TaskAttempt) -> None:
        """Wait until the previous worker cannot be running the task any more.

        Its delivery has expired, but it may still run the task, for example after an outage of NATS. A running task has
        a new event at least every MAX_EVENT_INTERVAL_S. So wait until the log has had no new event for that time, or
        for the acknowledgement timeout if that is shorter. After an outage, wait MAX_EVENT_INTERVAL_S from its end.
        After its first connection to NATS, a worker waits RECONNECTED_WITHIN_S, because it knows of no earlier outage.

        Raises:
            FencedError: The previous worker has appended to the log, so it keeps the task.
            TransientError: JetStream does not reply.
        """
        connection = self.execution.connection
        silence = (datetime.now(UTC) - attempt.record.event.time).total_seconds()
        lost_after = min(MAX_EVENT_INTERVAL_S, self._ack_wait)  # seconds of silence
        outage = max(
            MAX_EVENT_INTERVAL_S - connection.seconds_since_restored,
            RECONNECTED_WITHIN_S - connection.seconds_since_connected,
        )
        patience = max(outage, min(lost_after - silence, lost_after), 0.0)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            await asyncio.sleep(LOG_POLL_INTERVAL_S)
            await attempt.check()

    def _report_start(self, before: Record, attempt: TaskAttempt) -> None:
        log.info("task_started", audio_seconds=self.stored.audio_seconds)
        meter, name, started_at = self.execution.meter, task_name(self.lane), attempt.record.metadata.started_at
        if before.metadata.started_at is None and started_at is not None:
            since = due_at(before.metadata.task, before.metadata.created_at)
            meter.queue_wait.labels(name).observe(max((started_at - since).total_seconds(), 0.0))
            tracing.record_queue_wait(self.execution.tracer, since)
        if attempt.checkpoint.processed_seconds:
            meter.resumes.labels(name).inc()
            meter.resumed_seconds.labels(name).inc(attempt.checkpoint.processed_seconds)
