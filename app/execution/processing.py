"""Processing a delivery: everything from its heartbeat to its settlement, and what is reported of it."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionResult
from structlog.contextvars import bound_contextvars

from app.cancellation import despite_cancellation
from app.execution import settlement
from app.execution.delivery import Delivery
from app.execution.heartbeat import heartbeat
from app.execution.settlement import DeliveryOutcome
from app.telemetry.metrics import task_name

log = structlog.get_logger()


async def process(delivery: Delivery, handle: Callable[[], Awaitable[object]]) -> None:
    """Call the handler while the heartbeat beats, settle the message, and report the outcome.

    Meanwhile this worker helps no other worker.
    """
    execution, queue = delivery.execution, delivery.queue
    context = {"task_name": task_name(queue), "worker": execution.log.worker}
    async with execution.sharing.own_work():
        with (
            execution.meter.in_progress(queue),
            bound_contextvars(**context, task_id=None, user_id=None, attempt=None, trace_id=None),
        ):
            try:
                async with heartbeat(delivery):
                    await handle()
            except asyncio.CancelledError:  # only the consumer cancels, when its worker stops
                outcome = await despite_cancellation(settlement.stopped(delivery))
            except Exception as error:  # noqa: BLE001 -- whatever went wrong, the message must be settled
                outcome = await settlement.failed(delivery, error)
            else:
                outcome = await settlement.completed(delivery)
            delivery.spans.end()
            _report(delivery, outcome)


def _report(delivery: Delivery, outcome: DeliveryOutcome) -> None:
    """Count the outcome in the metrics, and log it."""
    meter, queue, attempt, seconds = delivery.execution.meter, delivery.queue, delivery.attempt, delivery.seconds
    result = attempt.result if attempt else None
    audio_seconds = attempt.audio_seconds if attempt else None
    if outcome.state is State.COMPLETED:
        missing = result.untranscribed if isinstance(result, TranscriptionResult) else []
        meter.completed(queue, seconds, audio_seconds, sum(gap.end - gap.start for gap in missing))
        resumed = attempt is not None and attempt.checkpoint.processed_seconds > 0
        if audio_seconds and not resumed and not (result and result.cached):  # this worker has done all of the work
            delivery.execution.speed.note(queue, audio_seconds=audio_seconds, seconds=seconds)
    code = outcome.error.code if outcome.error else None  # the message may name a file: only the task's log has it
    if code is not None and outcome.state in {State.FAILED, State.RETRYING}:
        meter.failed(queue, outcome.state, code, seconds)
    log.info(
        "task_delivery_ended",
        state=outcome.state,
        execution_time=round(seconds, 3),
        audio_seconds=audio_seconds,
        cached=result.cached if result else None,
        error=code,
    )
