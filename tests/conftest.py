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

from app.embedded import NatsServer, ValkeyServer, free_port
from app.settings import Settings
from tests.containers import engine_answers, nats_container, redis_container


@dataclass(frozen=True)
class Servers:
    """Where the servers of this test run answer."""

    nats_url: str
    redis_url: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    """One NATS and one Valkey for all tests of this process."""
    if engine_answers():
        with nats_container() as nats_url, redis_container() as redis_url:
            yield Servers(nats_url, redis_url)
        return
    folder = tmp_path_factory.mktemp("servers")
    nats_server, valkey = NatsServer(folder / "nats", free_port()), ValkeyServer(folder / "valkey", free_port())
    await nats_server.start()
    await valkey.start()
    yield Servers(nats_server.url, valkey.url)
    await nats_server.stop()
    await valkey.stop()


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
    """Settings for quick tests: nothing from the environment, retries at once."""
    return Settings(
        _env_file=None,
        nats_url=servers.nats_url,
        redis_url=servers.redis_url,
        audio_store=recordings_folder.as_uri(),
        task_retry_delay=0.1,
        task_ack_wait=2,
        task_heartbeat=0.5,
        task_grace=0.1,
    )
