"""Real servers for all tests that ask for them: containers where an engine answers, bundled binaries elsewhere."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js import JetStreamContext
from redis.asyncio import Redis

from app.redis_store.redis_keys import MARK
from app.settings import Settings
from tests.containers import engine_answers, nats_container, redis_container
from tests.servers import in_memory, nats_server_in, valkey_in


@dataclass(frozen=True)
class Servers:
    """Where the servers of this test run answer."""

    nats_url: str
    redis_url: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One NATS and one Valkey for all tests of this process."""
    if engine_answers():
        with nats_container() as nats_url, redis_container() as redis_url:
            yield Servers(nats_url, redis_url)
        return
    with in_memory() as folder:
        async with nats_server_in(folder / "nats") as nats_server, valkey_in(folder / "valkey") as valkey:
            yield Servers(nats_server.url, valkey.url)


@pytest.fixture
async def nc(servers: Servers) -> AsyncIterator[Client]:
    """A client of its own, as another service would have; what a test leaves behind is removed."""
    client = await nats.connect(servers.nats_url)
    yield client
    js = client.jetstream()
    for info in await js.streams_info():
        await js.delete_stream(str(info.config.name))
    await client.close()


@pytest.fixture
def js(nc: Client) -> JetStreamContext:
    return nc.jetstream()


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    client = Redis.from_url(servers.redis_url, decode_responses=True)
    await client.set(MARK, "1")  # a new Redis is caught up first, which takes seconds
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
def recordings_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "meeting.flac").write_bytes(b"not looked at by a fake engine")
    return folder


@pytest.fixture
def settings(servers: Servers, recordings_folder: Path) -> Settings:
    """Settings for quick tests: nothing from the environment, retries at once, each task computed."""
    return Settings(
        _env_file=None,
        nats_url=servers.nats_url,
        redis_url=servers.redis_url,
        audio_store=recordings_folder.as_uri(),
        task_retry_delay=0.1,
        task_ack_wait=2,
        task_heartbeat=0.5,
        task_grace=0.1,
        cache_ttl=0,
    )
