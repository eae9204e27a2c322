"""Servers that are guarded as the production stack's, and the service on them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.command.embedded import free_port
from app.main import Worker
from app.settings import Settings
from tests.access.servers import (
    GuardedNats,
    GuardedValkey,
    guarded_in_memory,
    service_settings,
)
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.servers import in_memory, running_server
from tests.waiting import DEADLINE
from tests.workers import working


@pytest.fixture(autouse=True)
def _clients_are_patient(constants: Constants) -> None:
    """On a busy machine a reply may take longer than clients wait."""
    constants(REPLY_TIMEOUT_S=DEADLINE)


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[GuardedNats]:
    async with guarded_in_memory() as server:
        yield server


@pytest_asyncio.fixture
async def encrypted(tmp_path: Path, certificates: Path) -> AsyncIterator[GuardedNats]:
    """A server with TLS."""
    async with running_server(GuardedNats(tmp_path / "nats", tls=certificates)) as server:
        yield server


@pytest_asyncio.fixture
async def valkey() -> AsyncIterator[GuardedValkey]:
    with in_memory() as folder:
        async with running_server(GuardedValkey(folder, free_port())) as server:
            yield server


@pytest.fixture
def settings(guarded: GuardedNats, valkey: GuardedValkey) -> Settings:
    return service_settings(guarded.url, valkey)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def worker(settings: Settings, engine: FakeEngine) -> AsyncIterator[Worker]:
    async with working(settings, engine) as service:
        yield service
