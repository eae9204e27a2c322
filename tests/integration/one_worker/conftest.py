"""One worker for all tests of this folder: they send tasks and requests, and check the outcome.

The worker runs beside them and its servers are never emptied. So each test uses task ids of its own, counts nothing
of other tests, and leaves the worker's engine alone.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import nats
import pytest
import pytest_asyncio
from anyio.from_thread import start_blocking_portal
from nats.aio.client import Client
from natscribe.mock import Mock
from redis.asyncio import Redis

from app.main import Worker
from tests.conftest import quick_settings, recordings_in
from tests.fakes.engine import FakeEngine
from tests.integration.wire import Wire
from tests.servers import Servers, shared_servers
from tests.workers import working


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers() -> AsyncIterator[Servers]:
    """Servers that no other test empties."""
    async with shared_servers() as shared:
        yield shared


@pytest.fixture(scope="session")
def worker(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker | Mock]:
    """The worker, in a thread of its own: the event loops of tests end with them.

    With SERVICE=mock, as in `make test-mock`, the mock replaces it: clients see the same of both.
    """
    settings = quick_settings(servers, recordings_in(tmp_path_factory.mktemp("one_worker")))
    is_mock = os.environ.get("SERVICE") == "mock"
    service: AbstractAsyncContextManager[Worker | Mock] = Mock(settings) if is_mock else working(settings, FakeEngine())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(service) as started:
        yield started


@pytest.fixture
async def nc(servers: Servers) -> AsyncIterator[Client]:
    """A client of its own, as another service would have."""
    client = await nats.connect(servers.nats_url)
    yield client
    await client.close()


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    async with Redis.from_url(servers.redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(autouse=True)
def _service(worker: Worker | Mock, wire: Wire) -> None:
    """Each test needs the worker, and compares its messages with the document."""


@pytest.fixture
def task_id() -> str:
    """An id that no other test uses."""
    return uuid4().hex
