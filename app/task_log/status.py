"""The status of a task, made from the last record of its log."""

from natscribe.schemas import requests, subjects
from natscribe.schemas.requests import TaskStatus

from app.task_log.record import Record


def status_of(record: Record) -> TaskStatus:
    """Return the status of the task whose log ends with this record."""
    told = record.metadata
    _, priority = subjects.queue_of(told.subject)
    return requests.status_of(record.event, told.task, priority, created_at=told.created_at, started_at=told.started_at)
