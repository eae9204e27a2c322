"""The status of a task, by the last record of its log and by its message in the queue."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from natscribe.schemas.progress import State

from app.requests.task_requests import TaskRequests
from app.tasks.queue.positions import Position, Positions
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.record import Metadata, Record
from tests.fakes.messages import event
from tests.fakes.task_log import InMemoryTaskLog

NOW = datetime.now(UTC)
QUEUE = "tasks.transcription.high"


@dataclass(frozen=True)
class FakePositions:
    """Has a message at each sequence, all stored at the same time."""

    stored_at: datetime

    async def locate(self, tasks: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position]]:
        return [(StoredMessage(*task, self.stored_at, {}), Position(3, None)) for task in tasks]


@pytest.mark.parametrize(
    ("state", "days_ago", "available"),
    [(State.COMPLETED, 0, True), (State.COMPLETED, 7.1, False), (State.RUNNING, 0, False), (State.FAILED, 0, False)],
)
def test_a_result_is_available_as_long_as_it_is_stored(state: State, days_ago: float, available: bool) -> None:
    then = datetime.now(UTC) - timedelta(days=days_ago)
    status = Record(event(state, 3, time=then), Metadata(None, 1, "tasks.transcription.high", then), 3).status
    assert status.result_available is available
    assert status.finished_at == (then if state.ended else None)


@pytest.mark.parametrize(("days_later", "position"), [(0, 3), (1, None)])
async def test_a_task_has_no_position_by_another_tasks_message(days_later: int, position: int | None) -> None:
    # Given a waiting task, and a stream that was or was not recreated since
    log = InMemoryTaskLog()
    await log.append(event(), Metadata(None, 1, QUEUE, NOW), after=0)
    positions = cast("Positions", FakePositions(NOW + timedelta(days=days_later)))
    unused: Any = None  # a status needs no other part
    requests = TaskRequests(
        log,
        unused,
        positions,
        messages=unused,
        erasure=unused,
        find=AsyncMock(return_value=await log.last("t1")),
    )
    # When its status is requested, then it has a position only if its own message is in the queue
    assert (await requests.status("t1")).queue_position == position
