"""Servers of a test's own, which it may hurt: fixtures for modules that import them."""

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from redis.asyncio import Redis

from app.settings import Settings
from app.storage.redis.keys import MARK
from tests.servers import NatsServer, ValkeyServer


@pytest.fixture
def settings(settings: Settings, nats_server: NatsServer, valkey: ValkeyServer) -> Settings:
    return settings.model_copy(update={"nats_url": nats_server.url, "redis_url": valkey.url})


async def connected_to(server: NatsServer) -> Client:
    return await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)


@pytest.fixture
async def nc(nats_server: NatsServer) -> AsyncIterator[Client]:
    client = await connected_to(nats_server)
    yield client
    await client.close()


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(valkey.url) as used_before:
        await used_before.set(MARK, "1")  # a new Valkey is caught up first, which takes seconds
    client = Redis.from_url(valkey.url, decode_responses=True)
    yield client
    await client.aclose()
