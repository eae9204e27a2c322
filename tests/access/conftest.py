"""Servers that are guarded as the production stack's."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.access.servers import GuardedNats, GuardedValkey, guarded_nats, guarded_valkey
from tests.servers import in_memory


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[GuardedNats]:
    with in_memory() as folder:
        async with guarded_nats(folder) as server:
            yield server


@pytest_asyncio.fixture
async def valkey() -> AsyncIterator[GuardedValkey]:
    with in_memory() as folder:
        async with guarded_valkey(folder) as server:
            yield server
