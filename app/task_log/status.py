"""The status of a task, derived from the last record of its log."""

from natscribe.schemas import requests, subjects
from natscribe.schemas.requests import TaskStatus

from app.task_log.record import Record


def status_of(record: Record) -> TaskStatus:
    """Return the status of the task whose log ends with `record`."""
    metadata = record.metadata
    _, priority = subjects.queue_of(metadata.subject)
    return requests.status_of(
        record.event, metadata.task, priority, created_at=metadata.created_at, started_at=metadata.started_at
    )
