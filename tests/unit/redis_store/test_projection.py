"""What the projection sends to Redis."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import pytest
from natscribe.schemas.progress import State
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from app.runtime.errors import TransientError
from app.storage.redis import keys
from app.tasks.projection.projection import KEEP_PROGRESS_S, KEEP_S, ProjectedEvent, RedisProjection
from tests.fakes.parts import Parts

DAY = 24 * 3600


class FakeRedis:
    """Records the keys and values of scripts, and replies to all with the same replies."""

    def __init__(self, *replies: object) -> None:
        self.sent: list[tuple[Sequence[object], Sequence[object]]] = []
        self._replies = replies

    def register_script(self, _: str) -> None:
        return None

    async def exists(self, name: str) -> object:
        assert name == keys.MARK
        return self._replies[0]

    def pipeline(self, *, transaction: bool) -> "FakeRedis":
        assert not transaction
        return self

    def eval(self, _: str, count: int, *values: object) -> None:
        self.sent.append((values[:count], values[count:]))

    async def execute(self, *, raise_on_error: bool) -> Sequence[object]:
        assert not raise_on_error
        return self._replies


@pytest.mark.parametrize(
    ("age_s", "keep", "keep_progress"),
    [(0.0, KEEP_S, KEEP_PROGRESS_S), (59.9, KEEP_S - 59, KEEP_PROGRESS_S - 59), (365 * DAY, 1, 1)],
)
async def test_keys_are_kept_as_long_as_the_event_and_not_longer_when_it_is_written_again(
    parts: Parts, age_s: float, keep: int, keep_progress: int
) -> None:
    redis, record = FakeRedis(1), await parts.reaching(State.RUNNING, "t1")
    await RedisProjection(cast("Redis", redis)).write_events([ProjectedEvent(record, age_s)])
    ((names, values),) = redis.sent
    assert set(names) >= {keys.info("t1"), keys.progress("t1"), keys.tombstone("t1"), keys.result("t1")}
    assert values[0] == record.stream_sequence
    assert values[3:5] == (keep, keep_progress)
    # And the task is listed as long as its keys can be there
    assert values[-1] == int(record.metadata.created_at.timestamp()) + KEEP_S


async def test_a_task_is_listed_under_a_hash_of_its_user_if_its_message_names_one(parts: Parts) -> None:
    redis, record = FakeRedis(1), await parts.reaching(State.RUNNING, "t1")
    invalid = replace(record, metadata=replace(record.metadata, task=None))
    await RedisProjection(cast("Redis", redis)).write_events([ProjectedEvent(item, 0.0) for item in (record, invalid)])
    assert [values[-2] for _, values in redis.sent] == [keys.user(7), keys.NO_USER]


@pytest.mark.parametrize(("marks", "is_empty"), [(0, True), (1, False)])
async def test_a_redis_without_the_mark_is_empty(marks: int, is_empty: bool) -> None:
    assert await RedisProjection(cast("Redis", FakeRedis(marks))).is_empty() is is_empty


async def test_an_event_that_redis_refuses_is_an_error(parts: Parts) -> None:
    record = await parts.reaching(State.RUNNING, "t1")
    refusing = RedisProjection(cast("Redis", FakeRedis(1, ResponseError("no"))))
    with pytest.raises(TransientError):
        await refusing.write_events([ProjectedEvent(record, 0.0)] * 2)
