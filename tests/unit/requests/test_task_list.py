"""The pages of the task list: as many tasks as a reply has room for."""

import json
from datetime import UTC, datetime
from typing import cast

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.task_list import ListRequest
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from app.errors import RequestError, TransientError
from app.redis_store.task_lists import MAX_EXPIRED_PER_CALL, remove_expired
from app.requests.task_list import BESIDE_TASKS_BYTES, TaskList
from app.task_log.record import Metadata, Record
from app.task_log.status import status_of

Row = tuple[bytes, bytes | None]


class FakeScripts:
    """Redis with two scripts."""

    def __init__(self, *rows: Row, expired: list[int | Exception] | None = None) -> None:
        self.rows = rows
        self.expired = expired or []
        self.pages: list[tuple[list[str], list[object]]] = []
        self.steps: list[object] = []
        self.fails_with: Exception | None = None

    def register_script(self, script: str) -> object:
        return (
            self._page if "ZRANGE" in script and "KEYS" in script and "LIMIT', 0, ARGV[2]" in script else self._expire
        )

    async def _page(self, keys: list[str], args: list[object]) -> tuple[list[bytes], list[bytes | None]]:
        self.pages.append((keys, args))
        if self.fails_with is not None:
            raise self.fails_with
        return [cursor for cursor, _ in self.rows], [status for _, status in self.rows]

    async def _expire(self, args: list[object]) -> int:
        self.steps.append(args)
        outcome = self.expired.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def row(number: int) -> Row:
    now = datetime(2026, 11, 26, tzinfo=UTC)
    task = TranscriptionTask(task_id=f"t{number}", audio_file_id="a.flac", user_id=7)
    event = ProgressEvent(
        task_id=task.task_id, kind=Kind.TRANSCRIPTION, state=State.QUEUED, max_attempts=4, sequence=1, time=now
    )
    status = status_of(Record(event, Metadata(task, 1, "tasks.transcription.normal", now), 1))
    return f"{number:022}-t{number}".encode(), status.model_dump_json().encode()


def task_list(redis: FakeScripts, *, room: int = 10**6) -> TaskList:
    return TaskList(cast("Redis", redis), max_payload=BESIDE_TASKS_BYTES + room)


async def page(redis: FakeScripts, limit: int, *, room: int = 10**6) -> tuple[list[str], str | None]:
    found = await task_list(redis, room=room).page(ListRequest(limit=limit))
    return [task.task_id for task in found.tasks], found.more_before


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
    assert await page(FakeScripts(*map(row, range(rows))), limit) == (listed, more)


@pytest.mark.parametrize(("tasks", "spare", "found"), [(2, 0, 2), (2, -1, 1), (1, -1, 1)])
async def test_a_page_fits_into_a_reply(tasks: int, spare: int, found: int) -> None:
    # Given a reply with room for this many tasks, or one byte less
    rows = [row(number) for number in range(3)]
    room = sum(len(status or b"") for _, status in rows[:tasks]) + spare
    # Then the page has the tasks that fit, but at least one
    assert await page(FakeScripts(*rows), 3, room=room) == (
        [f"t{number}" for number in range(found)],
        CURSORS[found - 1],
    )


async def test_expired_tasks_are_left_out() -> None:
    rows = [row(0), (row(1)[0], None), (row(2)[0], None), row(3)]
    assert await page(FakeScripts(*rows), 4) == (["t0", "t3"], None)
    assert await page(FakeScripts(*rows), 3) == (["t0"], CURSORS[2])


async def test_an_unreadable_task_is_left_out() -> None:
    # Given the status of a task that only a later version can read, between those of two other tasks
    rows = [row(0), (row(1)[0], b'{"later": 1}'), row(2)]
    # Then the page has the others
    assert await page(FakeScripts(*rows), 3) == (["t0", "t2"], None)


async def test_fields_and_states_of_a_later_version_are_listed() -> None:
    cursor, status = row(0)
    later = json.loads(status or b"") | {"state": "scheduled", "later": 1}
    later["task"]["later"] = "kept"
    (task,) = (await task_list(FakeScripts((cursor, json.dumps(later).encode()))).page(ListRequest())).tasks
    assert json.loads(task.model_dump_json())["state"] == "scheduled"


@pytest.mark.parametrize(
    ("request_", "lists", "start"),
    [
        (ListRequest(), len(State), "+"),
        (ListRequest(state=State.RUNNING), 1, "+"),
        (ListRequest(before=CURSORS[1]), len(State), f"({CURSORS[1]}"),
    ],
)
async def test_a_request_reads_the_lists_of_its_conditions(request_: ListRequest, lists: int, start: str) -> None:
    redis = FakeScripts()
    await task_list(redis).page(request_)
    assert [(len(keys), args) for keys, args in redis.pages] == [(lists, [start, request_.limit + 1])]


async def test_each_user_has_own_lists() -> None:
    redis = FakeScripts()
    for user in (None, 7, "7"):
        await task_list(redis).page(ListRequest(user_id=user, state=State.RUNNING))
    assert len({keys[0] for keys, _ in redis.pages}) == 3


@pytest.mark.parametrize("error", [RedisConnectionError(), OSError(), TimeoutError()])
async def test_without_redis_the_request_fails(error: Exception) -> None:
    redis = FakeScripts()
    redis.fails_with = error
    with pytest.raises(RequestError) as refused:
        await page(redis, 3)
    assert refused.value.detail.code is ErrorCode.INTERNAL


async def test_expired_tasks_are_removed_in_steps() -> None:
    redis = FakeScripts(expired=[MAX_EXPIRED_PER_CALL, MAX_EXPIRED_PER_CALL, 3, 99])
    await remove_expired(cast("Redis", redis))
    assert redis.steps == [[MAX_EXPIRED_PER_CALL, *State]] * 3
    with pytest.raises(TransientError):
        await remove_expired(cast("Redis", FakeScripts(expired=[RedisConnectionError()])))
