"""Processes a delivery of a task message up to its settlement, and reports the outcome in metrics and logs."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionResult
from structlog.contextvars import bound_contextvars

from app.cancellation import despite_cancellation
from app.execution import settlement
from app.execution.attempt import TaskAttempt
from app.execution.delivery import Delivery
from app.execution.heartbeat import heartbeat
from app.execution.settlement import DeliveryOutcome
from app.telemetry.metrics import task_name

log = structlog.get_logger()


async def process(delivery: Delivery, handle: Callable[[], Awaitable[object]]) -> None:
    """Run a task's handler with heartbeats, settle the task message, and report the outcome in the metrics and the log.

    Meanwhile this worker transcribes no windows (parts of recordings) of other workers. `handle`: calls the handler.
    """
    execution, lane = delivery.execution, delivery.lane
    context = {"task_name": task_name(lane), "worker": execution.log.worker}
    async with execution.sharing.pause_sharing():
        with (
            execution.meter.in_progress(lane),
            bound_contextvars(**context, task_id=None, user_id=None, attempt=None, trace_id=None),
        ):
            try:
                async with heartbeat(delivery):
                    await handle()
            except asyncio.CancelledError:  # by the consumer, when the worker stops
                outcome = await despite_cancellation(settlement.stopped(delivery))
            except Exception as error:  # noqa: BLE001 -- whatever the error, the message must be settled
                outcome = await settlement.failed(delivery, error)
            else:
                outcome = await settlement.completed(delivery)
            delivery.spans.end()
            _report(delivery, outcome)


def _report(delivery: Delivery, outcome: DeliveryOutcome) -> None:
    """Report the outcome of a delivery in the metrics and in the service's log."""
    attempt = delivery.attempt
    result = attempt.result if attempt else None
    code = outcome.error.code if outcome.error else None  # the message may name a file: only the task's log has it
    if attempt is not None and outcome.state is State.COMPLETED:
        _report_completed(delivery, attempt)
    if code is not None and outcome.state in {State.FAILED, State.RETRYING}:
        delivery.execution.meter.failed(delivery.lane, outcome.state, code, delivery.seconds)
    log.info(
        "task_delivery_ended",
        state=outcome.state,
        execution_time=round(delivery.seconds, 3),
        audio_seconds=attempt.audio_seconds if attempt else None,
        cached=result.cached if result else None,
        error=code,
    )


def _report_completed(delivery: Delivery, attempt: TaskAttempt) -> None:
    result, audio_seconds, seconds = attempt.result, attempt.audio_seconds, delivery.seconds
    gaps = result.untranscribed if isinstance(result, TranscriptionResult) else []
    delivery.execution.meter.completed(delivery.lane, seconds, audio_seconds, sum(gap.end - gap.start for gap in gaps))
