"""The status of a task, made from the last record of its log."""

from datetime import UTC, datetime, timedelta

from natscribe.jetstream.streams import RESULTS_KEPT_S
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus

from app.task_log.record import Record

RESULTS_KEPT = timedelta(seconds=RESULTS_KEPT_S)


def status_of(record: Record) -> TaskStatus:
    """Return the status of the task whose log ends with this record."""
    event, metadata = record.event, record.metadata
    _, priority = subjects.queue_of(metadata.subject)
    return TaskStatus(
        task_id=event.task_id,
        kind=event.kind,
        task=metadata.task,
        priority=priority,
        state=event.state,
        stage=event.stage,
        progress=event.progress,
        attempt=event.attempt,
        duration_seconds=event.duration_seconds,
        eta_seconds=event.eta_seconds,
        worker=event.worker,
        queue_position=event.queue_position,
        expected_start=event.expected_start or event.retry_at,
        error=event.error,
        created_at=metadata.created_at,
        started_at=metadata.started_at,
        finished_at=event.time if event.state.ended else None,
        result_available=event.state is State.COMPLETED and datetime.now(UTC) - event.time < RESULTS_KEPT,
    )
