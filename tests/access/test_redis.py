"""Redis: the service writes its own keys, readers read the documented ones, others have no access."""

from collections.abc import AsyncIterator

import pytest
from natscribe.schemas.wire import Model
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from app.runtime.errors import TransientError
from app.storage.redis.cache import Cache
from app.storage.redis.keys import MARK, info, progress, result
from app.tasks.projection.projection import RedisProjection
from tests.access.servers import GuardedValkey

DOCUMENTED = [key("t1") for key in (info, progress, result)]
OWN = [MARK, "natscribe:anything"]
FOREIGN = ["sessions", "tasks", "other:task:t1:info"]


@pytest.fixture
async def service(valkey: GuardedValkey) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.url_of("service")) as redis:
        yield redis


@pytest.fixture
async def reader(valkey: GuardedValkey) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.url_of("reader")) as redis:
        yield redis


async def test_the_service_has_its_keys_and_no_other(service: Redis) -> None:
    for key in DOCUMENTED + OWN:
        await service.set(key, "1", ex=10)
        assert await service.get(key) == b"1"
    for key in FOREIGN:
        with pytest.raises(NoPermissionError):
            await service.set(key, "1")
        with pytest.raises(ResponseError, match="permission"):
            await service.eval("return redis.call('GET', KEYS[1])", 1, key)


async def test_the_service_caches_and_erases_transcripts(service: Redis) -> None:
    cache, cached = Cache(service, ttl=10), Model(name="whisper-base", revision="1")
    await cache.put("t1", "0" * 64, "question", cached)
    assert await cache.get("t1", "0" * 64, "question", Model) == cached
    await cache.erase("t1")
    assert await cache.get("t1", "0" * 64, "question", Model) is None


async def test_a_reader_reads_what_is_documented_and_writes_nothing(service: Redis, reader: Redis) -> None:
    for key in DOCUMENTED:
        await service.set(key, "1")
        assert await reader.get(key) == b"1"
        for write in (reader.set(key, "2"), reader.delete(key), reader.expire(key, 1)):
            with pytest.raises(NoPermissionError):
                await write
    for key in OWN + FOREIGN:
        with pytest.raises(NoPermissionError):
            await reader.get(key)


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG GET *", "KEYS *", "SHUTDOWN NOSAVE", "ACL LIST"])
async def test_nobody_administers(service: Redis, reader: Redis, command: str) -> None:
    for user in (service, reader):
        with pytest.raises(NoPermissionError):
            await user.execute_command(*command.split())  # type: ignore[no-untyped-call]  # it has no types


async def test_nobody_else_gets_in(valkey: GuardedValkey) -> None:
    async with Redis.from_url(valkey.url) as nobody:
        with pytest.raises(AuthenticationError):
            await nobody.ping()
    async with Redis.from_url(valkey.url.replace("://", "://service:guessed@")) as guessing:
        with pytest.raises(AuthenticationError):
            await guessing.ping()


@pytest.mark.parametrize(("login", "why"), [("reader:reader-redis", "no permissions"), ("service:guessed", "password")])
async def test_a_wrong_login_of_the_service_is_reported_as_such(valkey: GuardedValkey, login: str, why: str) -> None:
    # Given the address of Redis with another user, or with a wrong password
    async with Redis.from_url(valkey.url.replace("://", f"://{login}@")) as redis:
        # When the service writes its mark, then the error says what is wrong, and not that Redis is unavailable
        with pytest.raises(TransientError, match=f"Redis refuses the service .*{why}.*correct REDIS_URL"):
            await RedisProjection(redis).mark()
