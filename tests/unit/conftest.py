"""A worker's parts without any server."""

from unittest.mock import AsyncMock

import pytest

from app.storage.redis.cache import Cache
from app.tasks.projection.projection import RedisProjection
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts, provisioned


@pytest.fixture
async def nats() -> InMemoryNats:
    """A NATS in memory with all streams of the service."""
    return await provisioned()


@pytest.fixture
async def parts(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> Parts:
    """The parts of a worker that holds the lease, and whose Redis has nothing."""
    monkeypatch.setattr(RedisProjection, "delete", AsyncMock())
    monkeypatch.setattr(Cache, "erase", AsyncMock())
    worker = Parts(nats)
    await worker.lease.open()
    assert await worker.lease.take()
    nats.requests.clear()
    return worker
