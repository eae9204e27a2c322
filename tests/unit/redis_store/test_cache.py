"""What the cache stores in Redis."""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import pytest
from natscribe.schemas.wire import Model
from redis.asyncio import Redis

from app.storage.redis.cache import PUT, Cache
from tests.constants import Constants

AUDIO, KEY = "a" * 64, "transcription base"
MODEL, OTHER = Model(name="whisper-base", revision="1"), Model(name="two\nlines", revision="2")  # any messages will do


class FakeRedis:
    """Has the packed results of one recording, by their keys."""

    def __init__(self) -> None:
        self.packed: dict[object, object] = {}

    def register_script(self, script: str) -> Callable[..., Awaitable[object]]:
        return self._put if script == PUT else self._get

    async def _put(self, *, keys: Sequence[str], args: Sequence[object]) -> int:
        del keys
        self.packed[args[2]] = args[3]
        return 1

    async def _get(self, *, keys: Sequence[str], args: Sequence[object]) -> object:
        del keys
        return self.packed.get(args[2])


@pytest.fixture
def redis() -> FakeRedis:
    return FakeRedis()


def cache_of(redis: FakeRedis, ttl: float = 60.0) -> Cache:
    return Cache(cast("Redis", redis), ttl=ttl)


async def test_a_result_of_several_pieces_is_no_single_result(redis: FakeRedis) -> None:
    cache = cache_of(redis)
    assert await cache.get_pieces("t1", AUDIO, KEY) == []
    await cache.put("t1", AUDIO, KEY, MODEL)
    assert await cache.get("t2", AUDIO, KEY, Model) == MODEL
    # When the result has several pieces
    await cache.put_pieces("t1", AUDIO, KEY, [MODEL, OTHER])
    # Then they can be read one by one only
    pieces = await cache.get_pieces("t2", AUDIO, KEY)
    assert [Model.model_validate_json(piece) for piece in pieces] == [MODEL, OTHER]
    assert await cache.get("t2", AUDIO, KEY, Model) is None


async def test_a_cache_without_a_time_stores_and_returns_nothing(redis: FakeRedis) -> None:
    await cache_of(redis, ttl=0).put("t1", AUDIO, KEY, MODEL)
    assert redis.packed == {}
    # And it returns nothing of what was stored before
    await cache_of(redis).put("t1", AUDIO, KEY, MODEL)
    assert await cache_of(redis, ttl=0).get("t1", AUDIO, KEY, Model) is None


async def test_a_result_that_is_too_large_is_not_stored(redis: FakeRedis, constants: Constants) -> None:
    cache = cache_of(redis)
    await cache.put("t1", AUDIO, KEY, MODEL)
    (packed,) = redis.packed.values()
    assert isinstance(packed, bytes)
    # When the limit is the size of a result, then the result is stored, and a larger one is not
    constants(MAX_COMPRESSED_BYTES=len(packed))
    redis.packed.clear()
    await cache.put_pieces("t1", AUDIO, KEY, [MODEL, OTHER])
    assert redis.packed == {}
    await cache.put("t1", AUDIO, KEY, MODEL)
    assert redis.packed == {KEY: packed}
