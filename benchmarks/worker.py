"""A worker in this process, with real servers and the real engine, so that its event loop can be watched."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from app.embedded import NatsServer, ValkeyServer, free_port
from app.engines.processes import EngineProcesses
from app.main import Service
from app.settings import Settings


@asynccontextmanager
async def worker() -> AsyncIterator[Settings]:
    """A worker whose model is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        nats, valkey = (
            NatsServer(Path(folder) / "nats", free_port()),
            ValkeyServer(Path(folder) / "valkey", free_port()),
        )
        await nats.start()
        await valkey.start()
        settings = Settings(_env_file=None, nats_url=nats.url, redis_url=valkey.url)
        service = Service(settings, EngineProcesses(settings))
        try:
            async with service.app.start_lifespan_context():
                await service.engine.load()
                yield settings
        finally:
            await nats.stop()
            await valkey.stop()


class LoopWatch:
    """Measures how long the event loop was away at most."""

    INTERVAL = 0.002  # seconds

    def __init__(self) -> None:
        self.longest = 0.0  # seconds

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(self.INTERVAL)
            self.longest = max(self.longest, time.perf_counter() - before - self.INTERVAL)
