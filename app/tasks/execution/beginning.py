"""Begins the next attempt at a task, unless another worker may still be running the task."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from natscribe.jetstream.task_messages import REPLAYS_NOTHING
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.kinds import Task, due_at, read_task
from natscribe.schemas.progress import MAX_EVENT_INTERVAL_S, State
from opentelemetry.trace import Tracer
from structlog.contextvars import bind_contextvars

from app.runtime.errors import InvalidTaskError, ObsoleteMessageError, PermanentError
from app.runtime.telemetry import tracing
from app.runtime.telemetry.metrics import Meter, task_name
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.retries import diarization_is_given_up
from app.tasks.queue.positions import FIRST
from app.tasks.queue.registration import Registration
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Record
from app.tasks.task_log.results import ResultStore

RECONNECTED_WITHIN_S = 5.0  # other workers reconnect within this time after this worker has
LOG_POLL_INTERVAL_S = 0.25  # between two reads of the log while a delivery waits for the previous worker

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Beginning:
    """Begins attempts: registers the task, waits until the previous worker is surely gone, and appends `running`.

    `connection`: records outages of the connection to NATS.
    """

    registration: Registration
    log: TaskLog
    results: ResultStore
    connection: ConnectionMonitor
    meter: Meter
    tracer: Tracer

    async def begin(self, delivery: Delivery) -> TaskAttempt:
        """Begin the next attempt at the task, or continue an attempt that another worker has released; return it.

        Raises:
            InvalidTaskError: The message is no valid task.
            ObsoleteMessageError: The task has ended, or its id belongs to another message.
            MessageGoneError: The task was deleted.
            FencedError: Another worker runs the task.
            PermanentError: The worker of the last allowed attempt was lost.
            TransientError: JetStream does not reply.
        """
        task = _valid_task(delivery.stored)
        # No user id: the worker's log outlives the user's data.
        bind_contextvars(task_id=task.task_id, trace_id=delivery.stored.trace_id)
        if delivery.stored.replay_of is not None and await self.log.last(task.task_id) is None:
            raise InvalidTaskError.of(REPLAYS_NOTHING)  # it must not run: the task may have been deleted
        before = await self.registration.register(task, delivery.stored, position=FIRST)
        tracing.link_to(before.metadata.span)
        spans = tracing.StageSpans(self.tracer)
        delivery.attempt = attempt = TaskAttempt(self.log, self.results, before, spans)
        bind_contextvars(attempt=attempt.number)
        if before.metadata.started_at is not None:
            self.meter.redeliveries.labels(task_name(delivery.task_type)).inc()
        if before.event.state.ended:
            raise ObsoleteMessageError
        if before.event.sequence > 1:
            await self._check_previous_attempt(delivery, attempt)
        await attempt.start(tracing.current_traceparent())
        self._report_start(delivery, before, attempt)
        return attempt

    async def _check_previous_attempt(self, delivery: Delivery, attempt: TaskAttempt) -> None:
        """Check that the previous attempt at the task is over and allows this one.

        Raises:
            FencedError: The previous attempt still runs.
            ObsoleteMessageError: The previous attempt has stored an outcome.
            PermanentError: The previous attempt was the last allowed one, and its worker was lost.
            TransientError: JetStream does not reply.
        """
        last = attempt.record.event
        if last.state is State.RUNNING:
            await self._wait_for_previous_worker(attempt, ack_wait=delivery.ack_wait)
        if await attempt.end_with_stored_outcome():
            raise ObsoleteMessageError
        lost_for_good = last.state is State.RUNNING and last.attempt >= last.max_attempts
        if lost_for_good and not diarization_is_given_up(last):
            message = f"The worker was lost in attempt {last.attempt}, the last: check the recording and the logs."
            raise PermanentError(ErrorCode.WORKER_LOST, message)

    async def _wait_for_previous_worker(self, attempt: TaskAttempt, *, ack_wait: float) -> None:
        """Wait until the previous worker cannot be running the task any more.

        Its delivery has expired, but it may still run the task, for example after an outage of NATS. A running task has
        a new event at least every MAX_EVENT_INTERVAL_S. So wait until the log has had no new event for that time, or
        for `ack_wait` seconds if that is shorter. After an outage, wait MAX_EVENT_INTERVAL_S from its end. After its
        first connection to NATS, a worker waits RECONNECTED_WITHIN_S, because it knows of no earlier outage.

        Raises:
            FencedError: The previous worker has appended to the log, so it keeps the task.
            TransientError: JetStream does not reply.
        """
        silence = (datetime.now(UTC) - attempt.record.event.time).total_seconds()
        lost_after = min(MAX_EVENT_INTERVAL_S, ack_wait)  # seconds of silence
        outage = max(
            MAX_EVENT_INTERVAL_S - self.connection.seconds_since_restored,
            RECONNECTED_WITHIN_S - self.connection.seconds_since_connected,
        )
        patience = max(outage, min(lost_after - silence, lost_after), 0.0)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            await asyncio.sleep(LOG_POLL_INTERVAL_S)
            await attempt.check()

    def _report_start(self, delivery: Delivery, before: Record, attempt: TaskAttempt) -> None:
        log.info("task_started", audio_seconds=delivery.stored.audio_seconds)
        name, started_at = task_name(delivery.task_type), attempt.record.metadata.started_at
        if before.metadata.started_at is None and started_at is not None:
            since = due_at(before.metadata.task, before.metadata.created_at)
            self.meter.queue_wait.labels(name).observe(max((started_at - since).total_seconds(), 0.0))
            tracing.record_queue_wait(self.tracer, since)
        if attempt.checkpoint.processed_seconds:
            self.meter.resumes.labels(name).inc()
            self.meter.resumed_seconds.labels(name).inc(attempt.checkpoint.processed_seconds)


def _valid_task(message: StoredMessage) -> Task:
    if (problem := message.problem) is not None:
        raise InvalidTaskError.of(problem)
    return read_task(message.task_type, message.body)
