"""The pages of the task list: as many tasks as a reply has room for."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import cast
from unittest.mock import AsyncMock, Mock, call

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.transcription import TranscriptionTask
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.requests.task_list import BESIDE_TASKS_BYTES, TaskList
from app.runtime.errors import RequestError, TransientError
from app.tasks.projection.task_lists import MAX_EXPIRED_PER_CALL, remove_expired
from app.tasks.task_log.record import Metadata, Record
from tests.fakes.messages import event

Row = tuple[bytes, bytes | None]


def redis_with(script: Callable[..., Awaitable[object]]) -> Redis:
    """A Redis whose only script is this one."""
    return cast("Redis", Mock(register_script=Mock(return_value=script)))


def row(number: int) -> Row:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    task = TranscriptionTask(task_id=f"t{number}", audio_file_id="a.flac", user_id=7)
    queued = event(task_id=task.task_id, time=now)
    status = Record(queued, Metadata(task, 1, "tasks.transcription.normal", now), 1).status
    return f"{number:022}-t{number}".encode(), status.model_dump_json().encode()


async def read(*rows: Row, limit: int = 50, room: int = 10**6) -> TaskPage:
    async def script(*, keys: Sequence[str], args: Sequence[object]) -> tuple[list[bytes], list[bytes | None]]:
        del keys
        first = rows[: int(str(args[1]))]
        return [cursor for cursor, _ in first], [status for _, status in first]

    tasks = TaskList(redis_with(script), max_payload=BESIDE_TASKS_BYTES + room)
    return await tasks.page(ListRequest(limit=limit))


async def page(rows: Iterable[Row], limit: int, *, room: int = 10**6) -> tuple[list[str], str | None]:
    tasks = await read(*rows, limit=limit, room=room)
    return [task.task_id for task in tasks.tasks], tasks.more_before


CURSORS = [row(number)[0].decode() for number in range(4)]


@pytest.mark.parametrize(
    ("rows", "limit", "listed", "more"),
    [
        (0, 3, [], None),
        (2, 3, ["t0", "t1"], None),
        (3, 3, ["t0", "t1", "t2"], None),
        (4, 3, ["t0", "t1", "t2"], CURSORS[2]),
    ],
)
async def test_a_page_has_the_requested_number_of_tasks(
    rows: int, limit: int, listed: list[str], more: str | None
) -> None:
    assert await page(map(row, range(rows)), limit) == (listed, more)


@pytest.mark.parametrize(("tasks", "spare", "count"), [(2, 0, 2), (2, -1, 1), (1, -1, 1)])
async def test_a_page_fits_into_a_reply(tasks: int, spare: int, count: int) -> None:
    # Given a reply with room for this many tasks, or one byte less
    rows = [row(number) for number in range(3)]
    room = sum(len(status or b"") for _, status in rows[:tasks]) + spare
    # Then the page has the tasks that fit, but at least one
    assert await page(rows, 3, room=room) == (
        [f"t{number}" for number in range(count)],
        CURSORS[count - 1],
    )


async def test_expired_tasks_are_left_out() -> None:
    rows = [row(0), (row(1)[0], None), (row(2)[0], None), row(3)]
    assert await page(rows, 4) == (["t0", "t3"], None)
    assert await page(rows, 3) == (["t0"], CURSORS[2])


async def test_an_unreadable_task_is_left_out() -> None:
    # Given the status of a task that only a later version can read, between those of two other tasks
    rows = [row(0), (row(1)[0], b'{"later": 1}'), row(2)]
    # Then the page has the others
    assert await page(rows, 3) == (["t0", "t2"], None)


async def test_fields_and_states_of_a_later_version_are_listed() -> None:
    cursor, status = row(0)
    later = json.loads(status or b"") | {"state": "scheduled", "later": 1}
    later["task"]["later"] = "kept"
    (task,) = (await read((cursor, json.dumps(later).encode()))).tasks
    assert json.loads(task.model_dump_json())["state"] == "scheduled"


@pytest.mark.parametrize("error", [RedisConnectionError(), OSError(), TimeoutError()])
async def test_without_redis_the_request_fails(error: Exception) -> None:
    tasks = TaskList(redis_with(AsyncMock(side_effect=error)), max_payload=BESIDE_TASKS_BYTES)
    with pytest.raises(RequestError) as refused:
        await tasks.page(ListRequest())
    assert refused.value.detail.code is ErrorCode.INTERNAL


async def test_expired_tasks_are_removed_in_steps() -> None:
    steps = AsyncMock(side_effect=[MAX_EXPIRED_PER_CALL, MAX_EXPIRED_PER_CALL, 3, 99])
    await remove_expired(redis_with(steps))
    assert steps.await_args_list == [call(args=[MAX_EXPIRED_PER_CALL, *State])] * 3
    with pytest.raises(TransientError):
        await remove_expired(redis_with(AsyncMock(side_effect=RedisConnectionError())))
