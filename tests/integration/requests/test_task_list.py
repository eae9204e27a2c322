"""The task lists in Redis: a page has the newest tasks, each once, and no deleted task."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Priority
from redis.asyncio import Redis

from app.requests.task_list import TaskList
from app.tasks.projection.projection import KEEP_S, ProjectedEvent, RedisProjection
from app.tasks.projection.task_lists import remove_expired
from app.tasks.task_log.record import Metadata, Record
from tests.fakes.messages import event
from tests.waiting import eventually

NOON = datetime.now(UTC).replace(microsecond=0)
PAYLOAD = 1024**2


@pytest.fixture
def projection(binary_redis: Redis) -> RedisProjection:
    return RedisProjection(binary_redis)


@pytest.fixture
def task_list(binary_redis: Redis) -> TaskList:
    return TaskList(binary_redis, max_payload=PAYLOAD)


def happened(
    number: int,
    state: State = State.QUEUED,
    *,
    user_id: int | str | None = 7,
    sequence: int = 1,
    after_s: float = 0,
    age_s: float = 0,
) -> ProjectedEvent:
    """An event of the task with this number; tasks are stored a microsecond after each other, or `after_s` later."""
    task_id = f"t{number}"
    task = None
    if user_id is not None:
        task = TranscriptionTask(task_id=task_id, audio_file_id=f"{number}.flac", user_id=user_id)
    error = ErrorDetail(code=ErrorCode.TIMEOUT, message="Too slow.") if state is State.FAILED else None
    happened_at_noon = event(state, sequence, task_id=task_id, error=error, time=NOON)
    stored = NOON + timedelta(microseconds=number, seconds=after_s)
    metadata = Metadata(task, 100 + number, "tasks.transcription.low", stored)
    return ProjectedEvent(Record(happened_at_noon, metadata, 1000 + sequence), age_s)


def numbers(page: TaskPage) -> list[int]:
    return [int(task.task_id.removeprefix("t")) for task in page.tasks]


async def pages(task_list: TaskList, request: ListRequest) -> list[TaskPage]:
    """All pages of a request, one after the other."""
    task_pages = [await task_list.page(request)]
    while task_pages[-1].more_before is not None:
        task_pages.append(await task_list.page(request.model_copy(update={"before": task_pages[-1].more_before})))
    return task_pages


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (ListRequest(), [5, 4, 3, 2, 1]),
        (ListRequest(user_id=7), [4, 1]),
        (ListRequest(user_id="7"), [2]),
        (ListRequest(user_id="nobody"), []),
        (ListRequest(user_id="*"), []),
        (ListRequest(user_id="-"), []),
        (ListRequest(state=State.FAILED), [5, 3, 1]),
        (ListRequest(state=State.CANCELLED), []),
        (ListRequest(user_id=7, state=State.FAILED), [1]),
        (ListRequest(limit=2), [5, 4]),
    ],
)
async def test_a_list_has_the_tasks_of_its_conditions_the_newest_first(
    projection: RedisProjection, task_list: TaskList, request_: ListRequest, expected: Sequence[int]
) -> None:
    # Given tasks of several users, projected in any order, and one that was never valid
    await projection.write_events(
        [
            happened(4, State.RUNNING),
            happened(1, State.FAILED),
            happened(3, State.FAILED, user_id="anna"),
            happened(5, State.FAILED, user_id=None),
            happened(2, user_id="7"),
        ]
    )
    # Then the page has the tasks that match
    page = await task_list.page(request_)
    assert numbers(page) == expected
    assert (page.more_before is None) == (len(expected) != request_.limit)


async def test_a_listed_task_has_the_fields_of_its_status(projection: RedisProjection, task_list: TaskList) -> None:
    await projection.write_events([happened(1, State.FAILED, user_id="anna"), happened(2, State.FAILED, user_id=None)])
    invalid, valid = (await task_list.page(ListRequest())).tasks
    assert (valid.user_id, valid.audio_file_id, valid.priority) == ("anna", "1.flac", Priority.LOW)
    assert (valid.state, valid.created_at) == (State.FAILED, NOON + timedelta(microseconds=1))
    assert (valid.error and valid.error.code, valid.finished_at) == (ErrorCode.TIMEOUT, NOON)
    assert (invalid.user_id, invalid.audio_file_id) == (None, None)


@pytest.mark.parametrize("request_", [ListRequest(limit=7), ListRequest(limit=7, user_id=7, state=State.QUEUED)])
async def test_pages_repeat_and_leave_out_nothing_while_tasks_are_added(
    projection: RedisProjection, task_list: TaskList, request_: ListRequest
) -> None:
    # Given twenty tasks, and a client that has read the first page
    await projection.write_events([happened(number) for number in range(1, 21)])
    first = await task_list.page(request_)
    # When tasks are added, and others progress
    await projection.write_events([happened(number) for number in range(21, 31)])
    await projection.write_events([happened(number, State.QUEUED, sequence=2) for number in (3, 8, 16)])
    # Then the next pages have the remaining earlier tasks
    rest = await pages(task_list, request_.model_copy(update={"before": first.more_before}))
    assert [number for page in [first, *rest] for number in numbers(page)] == list(range(20, 0, -1))


async def test_a_task_is_in_one_state_at_a_time(projection: RedisProjection, task_list: TaskList) -> None:
    for sequence, state in enumerate([State.QUEUED, State.RUNNING, State.RETRYING, State.RUNNING, State.FAILED], 1):
        # When a task progresses
        await projection.write_events([happened(1, state, sequence=sequence)])
        # Then it is listed in this state only, and once among all
        for user_id in (None, 7):
            by_state = {
                listed_state: numbers(await task_list.page(ListRequest(state=listed_state, user_id=user_id)))
                for listed_state in State
            }
            assert by_state == {listed_state: [1] if listed_state is state else [] for listed_state in State}
            assert numbers(await task_list.page(ListRequest(user_id=user_id))) == [1]
    # And an older event that comes late changes nothing
    await projection.write_events([happened(1, State.RUNNING, sequence=4)])
    assert numbers(await task_list.page(ListRequest(state=State.FAILED))) == [1]


async def test_a_replayed_task_is_listed_once_and_as_new(projection: RedisProjection, task_list: TaskList) -> None:
    await projection.write_events([happened(1, State.FAILED), happened(2)])
    await projection.write_events([happened(1, State.QUEUED, sequence=2, after_s=60)])
    assert numbers(await task_list.page(ListRequest())) == [1, 2]


async def test_a_later_task_with_the_id_of_an_erased_one_is_listed_for_its_own_user(
    projection: RedisProjection, task_list: TaskList
) -> None:
    await projection.write_events([happened(1, State.COMPLETED, user_id="anna")])
    await projection.delete(happened(1, State.COMPLETED, user_id="anna").record)
    await projection.write_events([happened(1, user_id="bert", sequence=2, after_s=60)])
    assert numbers(await task_list.page(ListRequest(user_id="anna"))) == []
    assert numbers(await task_list.page(ListRequest(user_id="bert"))) == [1]


async def test_a_deleted_task_is_in_no_list(projection: RedisProjection, binary_redis: Redis) -> None:
    # Given a task that was deleted
    await projection.write_events([happened(1, State.COMPLETED)])
    await projection.delete(happened(1, State.COMPLETED).record)
    # When another worker still has to project an event of the task
    await projection.write_events([happened(1, State.COMPLETED)])
    # Then no list is left
    assert await lists(binary_redis) == set()


async def test_an_expired_task_leaves_the_lists(
    projection: RedisProjection, task_list: TaskList, binary_redis: Redis
) -> None:
    # Given many tasks whose last events are a week old, and one whose last event is of today
    old = -KEEP_S - 60
    many = [happened(number, State.COMPLETED, after_s=old, age_s=KEEP_S) for number in range(1, 701)]
    await projection.write_events([*many, happened(999, State.COMPLETED, after_s=old, user_id=8)])
    # When the keys of the many have expired
    await eventually(lambda: has_expired(binary_redis, "t700"))
    await remove_expired(binary_redis)
    # Then the lists have the one, whose keys have not
    assert numbers(await task_list.page(ListRequest())) == [999]
    assert len(await lists(binary_redis)) == 3
    # And it is removed like the others
    await binary_redis.delete("natscribe:task:t999:projected", "task:t999:info")
    entries = [entry async for entry, _ in binary_redis.zscan_iter("natscribe:listed")]
    await binary_redis.zadd("natscribe:listed", dict.fromkeys(entries, 0))
    await remove_expired(binary_redis)
    assert await lists(binary_redis) == set()


async def lists(redis: Redis) -> set[bytes]:
    return {key async for key in redis.scan_iter("natscribe:*") if await redis.type(key) == b"zset"}


async def has_expired(redis: Redis, task_id: str) -> bool:
    return not await redis.exists(f"task:{task_id}:info", f"natscribe:task:{task_id}:projected")


async def test_a_list_lives_as_long_as_its_tasks_have_events(projection: RedisProjection, redis: Redis) -> None:
    # Given lists whose time is nearly over, and a task that still runs
    await projection.write_events([happened(1, State.RUNNING)])
    lists = [key async for key in redis.scan_iter("natscribe:tasks:*")] + ["natscribe:listed"]
    for list_key in lists:
        await redis.expire(list_key, 10)
    # When the task has its next event, in the same state
    await projection.write_events([happened(1, State.RUNNING, sequence=2)])
    # Then its lists live on for longer than its keys
    assert len(lists) == 3
    assert all([await redis.ttl(key) > KEEP_S for key in lists])
