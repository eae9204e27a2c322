"""Reports deliveries of task messages in the metrics, and in the log of the worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionResult
from structlog.contextvars import bound_contextvars

from app.runtime.telemetry.metrics import Meter, task_name
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.decision import Ending
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.settlement import DeliveryOutcome

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Reports deliveries; `worker`: the name of this worker."""

    worker: str
    meter: Meter

    @contextmanager
    def during(self, delivery: Delivery) -> Iterator[None]:
        """Count the task as running while the `with` block runs, and name it in each line of the worker's log."""
        context = {"task_name": task_name(delivery.task_type), "worker": self.worker}
        with (
            self.meter.in_progress(delivery.task_type),
            bound_contextvars(**context, task_id=None, attempt=None, trace_id=None),
        ):
            yield

    def report(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        """Report the outcome of a delivery."""
        attempt, state = delivery.attempt, outcome.state
        result = attempt.result if attempt else None
        code = outcome.error.code if outcome.error else None  # the message may name a file: only the task's log has it
        if attempt is None and outcome.ending is Ending.OBSOLETE:
            self.meter.duplicates.labels(task_name(delivery.task_type)).inc()
        if attempt is not None:
            attempt.spans.end()
            if state is State.COMPLETED:
                self._report_completed(delivery, attempt)
        if code is not None and state in {State.FAILED, State.RETRYING}:
            self.meter.failed(delivery.task_type, state, code, delivery.seconds)
        log.info(
            "task_delivery_ended",
            ending=outcome.ending,
            log=outcome.log,
            state=state,
            execution_time=round(delivery.seconds, 3),
            audio_seconds=attempt.audio_seconds if attempt else None,
            cached=result.cached if result else None,
            error=code,
        )

    def _report_completed(self, delivery: Delivery, attempt: TaskAttempt) -> None:
        result = attempt.result
        gaps = result.untranscribed if isinstance(result, TranscriptionResult) else []
        for entity in result.entities if isinstance(result, TranscriptionResult) else []:
            self.meter.redacted.labels(entity.type).inc()
        untranscribed = sum(gap.end - gap.start for gap in gaps)
        self.meter.completed(delivery.task_type, delivery.seconds, attempt.audio_seconds, untranscribed)
