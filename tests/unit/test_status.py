"""What a status says, read off the last entry of a log."""

from datetime import UTC, datetime, timedelta

import pytest

from app.log.entry import Entry, Facts
from app.queue.status import status_of
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind


@pytest.mark.parametrize(
    ("state", "days_ago", "available"),
    [(State.COMPLETED, 0, True), (State.COMPLETED, 7.1, False), (State.RUNNING, 0, False), (State.FAILED, 0, False)],
)
def test_a_result_is_available_as_long_as_it_is_kept(state: State, days_ago: float, available: bool) -> None:
    then = datetime.now(UTC) - timedelta(days=days_ago)
    event = ProgressEvent(task_id="t", kind=Kind.TRANSCRIPTION, state=state, max_attempts=4, sequence=3, time=then)
    status = status_of(Entry(event, Facts(None, 1, "tasks.transcription.high", then), 3))
    assert status.result_available is available
    assert status.finished_at == (then if state.ended else None)
