"""The status of a task, read off the last entry of its log."""

from datetime import UTC, datetime, timedelta

from app.jetstream import streams
from app.log.entry import Entry
from app.queue.positions import Position
from schemas.progress import State
from schemas.requests import TaskStatus

RESULTS_KEPT = timedelta(seconds=streams.RESULTS_KEPT)


def status_of(entry: Entry) -> TaskStatus:
    """Tell where a task stands."""
    event, facts = entry.event, entry.facts
    return TaskStatus(
        task_id=event.task_id,
        kind=event.kind,
        task=facts.task,
        state=event.state,
        stage=event.stage,
        progress=event.progress,
        attempt=event.attempt,
        queue_position=event.queue_position,
        expected_start=event.expected_start or event.retry_at,
        error=event.error,
        created_at=facts.created_at,
        started_at=facts.started_at,
        finished_at=event.time if event.state.ended else None,
        result_available=event.state is State.COMPLETED and datetime.now(UTC) - event.time < RESULTS_KEPT,
    )


def placed(status: TaskStatus, place: Position) -> TaskStatus:
    """The status of a task that waits, with its place now; until the time of its retry it has none."""
    if status.state is State.RETRYING:
        times = (time for time in (status.expected_start, place.expected_start) if time is not None)
        return status.model_copy(update={"expected_start": max(times, default=None)})
    return status.model_copy(update={"queue_position": place.number, "expected_start": place.expected_start})
