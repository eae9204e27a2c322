"""Real servers for tests: containers where a container engine runs, bundled binaries elsewhere."""

import gc
import logging
import os
import tempfile
from collections.abc import AsyncIterator, Generator
from contextlib import ExitStack
from pathlib import Path

import nats
import pytest
import pytest_asyncio
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from redis.asyncio import Redis

from app.command.embedded import process
from app.settings import Settings
from app.storage.redis.keys import MARK
from tests.constants import Constants, changed_in
from tests.failures import FailureReporter
from tests.faults import make_certificates
from tests.servers import Servers, shared_servers
from tests.watchdog import watched

# Tests that run in parallel choose from ports of their own: a port counts as free until its server listens on it.
_NUMBER, _OF = (
    int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
    int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
)
process.PORTS = process.PORTS[_NUMBER::_OF]


def pytest_configure(config: pytest.Config) -> None:
    """Report failures at once, and let nothing outlive the run, which includes the workers of pytest-xdist."""
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(FailureReporter(config))
    running = ExitStack()
    running.enter_context(watched())
    config.add_cleanup(running.close)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules are imported, and exclude them from later collections, which take 0.2 s each.

    Remove the log handlers that write to the terminal: a `conftest.py` of a folder, and with it the service, is
    imported before pytest captures the output.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        root = logging.getLogger()
        root.handlers = [handler for handler in root.handlers if type(handler) is not logging.StreamHandler]


@pytest.fixture(scope="session", autouse=True)
def _loggers_are_not_cached() -> None:
    """Have every logger read its configuration when it logs: `capture_logs` misses loggers that cache theirs."""
    structlog.configure(cache_logger_on_first_use=False)


@pytest.fixture
def constants(monkeypatch: pytest.MonkeyPatch) -> Constants:
    """Change times and sizes of the service until the test ends."""
    return changed_in(monkeypatch)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that `tempfile` uses until the test ends."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def full_disk(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on a full disk that `tempfile` uses: each write to its files fails, as it does to /dev/full."""

    def mkstemp(prefix: str) -> tuple[int, str]:
        (scratch / f"{prefix}x").symlink_to("/dev/full")
        return os.open("/dev/full", os.O_WRONLY), str(scratch / f"{prefix}x")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    return scratch


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of `localhost` and 127.0.0.1, and the authority that signed it."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """One NATS and one Valkey for all tests of this process that remove what they leave behind."""
    async with shared_servers() as addresses:
        yield addresses


@pytest.fixture
async def nc(servers: Servers) -> AsyncIterator[Client]:
    """A NATS client for one test; all streams are deleted when the test ends."""
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
    return recordings_in(tmp_path)


@pytest.fixture
def settings(servers: Servers, recordings_folder: Path) -> Settings:
    return quick_settings(servers, recordings_folder)


def recordings_in(folder: Path) -> Path:
    """A folder with a recording for a fake engine."""
    recordings = folder / "recordings"
    recordings.mkdir()
    (recordings / "meeting.flac").write_bytes(b"not looked at by a fake engine")
    return recordings


def quick_settings(servers: Servers, recordings: Path) -> Settings:
    """Settings for quick tests: nothing from the environment, retries at once, each task computed."""
    return Settings(
        _env_file=None,
        nats_url=servers.nats_url,
        redis_url=servers.redis_url,
        audio_store=recordings.as_uri(),
        task_retry_delay=0.1,
        engine_parallel=1,  # one window after the other, and each is an append
        engine_batch=1,
        task_ack_wait=1,  # a message of a lost worker is soon delivered to another one
        task_heartbeat=0.25,
        task_grace=0.1,
        cache_ttl=0,
    )
