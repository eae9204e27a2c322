"""The cache: equal keys for the same recording return the value that was stored before."""

import pytest
from natscribe.schemas.wire import Model
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.storage.redis import keys
from app.storage.redis.cache import Cache, connected, read

AUDIO = "a" * 64
FOUND = Model(name="whisper-base", revision="1")  # any message will do
DAY = 24 * 3600


@pytest.fixture
def cache(binary_redis: Redis) -> Cache:
    return Cache(binary_redis, ttl=DAY)


async def test_a_cached_value_is_returned_until_it_expires(cache: Cache, redis: Redis) -> None:
    # Given a cached value
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    # Then the same question has it, another question or recording has not
    assert await cache.get("t1", AUDIO, "transcription base", Model) == FOUND
    assert await cache.get("t1", AUDIO, "transcription large-v3", Model) is None
    assert await cache.get("t1", "b" * 64, "transcription base", Model) is None
    # And it goes by itself
    assert 0 < await redis.ttl(keys.cached_results(AUDIO)) <= DAY


async def test_a_later_value_does_not_extend_the_life_of_an_earlier_one(cache: Cache, redis: Redis) -> None:
    # Given a cached value that expires soon
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    await redis.expire(keys.cached_results(AUDIO), 100)
    # When another is stored beside it
    await cache.put("t1", AUDIO, "diarization", FOUND)
    # Then both go when the first does
    assert await redis.ttl(keys.cached_results(AUDIO)) <= 100


async def test_a_worker_that_is_too_late_keeps_nothing_of_a_deleted_task(cache: Cache, redis: Redis) -> None:
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    # When its task is deleted, and a worker that was a moment too late stores its value
    await redis.set(keys.tombstone("t1"), "1")
    await cache.erase("t1")
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    # Then nothing is there, and nothing names the task
    assert await cache.get("t2", AUDIO, "transcription base", Model) is None
    assert await redis.keys("natscribe:[th]*") == [keys.tombstone("t1")]


async def test_a_cached_value_is_deleted_with_each_task_that_has_it(cache: Cache, redis: Redis) -> None:
    # Given a cached value that expires soon, and another task that reads it
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    await redis.expire(keys.cached_results(AUDIO), 100)
    assert await cache.get("t2", AUDIO, "transcription base", Model) == FOUND
    # Then the service knows for long enough which recording the other task had
    assert await redis.ttl(keys.cached_recordings("t2")) >= 100
    # When the other task is deleted, then the value is gone
    await cache.erase("t2")
    assert await redis.keys("natscribe:[th]*") == [keys.cached_recordings("t1")]


@pytest.mark.parametrize("again", [Cache.get, Cache.put])
async def test_findings_go_with_their_task_after_the_time_was_shortened(
    binary_redis: Redis, redis: Redis, cache: Cache, again: object
) -> None:
    # Given a value that is cached for a day, and an operator who then chooses a minute
    await cache.put("t1", AUDIO, "transcription base", FOUND)
    short = Cache(binary_redis, ttl=60)
    # When the same task, and another one, find it again or add another finding
    for task_id in ("t1", "t2"):
        if again is Cache.get:
            await short.get(task_id, AUDIO, "transcription base", Model)
        else:
            await short.put(task_id, AUDIO, "diarization", FOUND)
    # Then the service knows the recording of both as long as there are findings
    for task_id in ("t1", "t2"):
        assert (
            await redis.ttl(keys.cached_recordings(task_id))
            >= await redis.ttl(keys.cached_results(AUDIO)) - 1
            > DAY / 2
        )


async def test_a_value_stored_in_chunks_is_read_in_chunks(cache: Cache, redis: Redis) -> None:
    # Given a value of several chunks, whatever is in them
    pieces = [FOUND, Model(name="two\nlines", revision="1")]
    await cache.put_pieces("t1", AUDIO, "transcript", pieces)
    # Then the same key returns them all, and they are no single value
    assert [read(piece, Model) for piece in await cache.get_pieces("t1", AUDIO, "transcript")] == pieces
    assert await cache.get("t1", AUDIO, "transcript", Model) is None
    # And they go by themselves, and with their task
    assert 0 < await redis.ttl(keys.cached_results(AUDIO)) <= DAY
    await cache.erase("t1")
    assert await cache.get_pieces("t1", AUDIO, "transcript") == []


@pytest.mark.parametrize("stored_value", [b"not compressed", b"x\x9c\xab\xae\x05\x00\x01u\x00\xf9"])
async def test_values_of_another_version_are_ignored(cache: Cache, redis: Redis, stored_value: bytes) -> None:
    await redis.hset(keys.cached_results(AUDIO), "transcription base", stored_value)
    assert await cache.get("t1", AUDIO, "transcription base", Model) is None


async def test_without_redis_there_is_nothing_and_nothing_breaks() -> None:
    async with connected("redis://localhost:1") as nowhere:
        cache = Cache(nowhere, ttl=DAY)
        with capture_logs() as logs:
            await cache.put("t1", AUDIO, "transcription base", FOUND)
            assert await cache.get("t1", AUDIO, "transcription base", Model) is None
    assert {line["event"] for line in logs} == {"cache_access_failed"}
