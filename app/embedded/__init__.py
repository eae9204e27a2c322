"""Embedded servers: runs NATS with JetStream, and Valkey, from Python packages on 127.0.0.1, with data in a folder."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.cancellation import cancel_all
from app.embedded.guarded import Guarded
from app.embedded.process import EmbeddedError, Server, free_port, is_free
from app.embedded.servers import NatsServer, ValkeyServer

__all__ = [
    "EmbeddedError",
    "Endpoints",
    "Guarded",
    "NatsServer",
    "Server",
    "ValkeyServer",
    "free_port",
    "is_free",
    "servers",
]


@dataclass(frozen=True)
class Endpoints:
    """The embedded servers and their addresses."""

    nats: NatsServer
    valkey: ValkeyServer

    @property
    def nats_url(self) -> str:
        """The address of NATS."""
        return self.nats.url

    @property
    def redis_url(self) -> str:
        """The address of Valkey."""
        return self.valkey.url

    async def keep(self, on_restart: Callable[[str], None]) -> None:
        """Restart each server that ends, until cancelled; before a restart call `on_restart` with the server's name.

        Raises:
            EmbeddedError: A server does not start.
        """
        keeping = [asyncio.create_task(server.keep(on_restart)) for server in (self.nats, self.valkey)]
        try:
            await asyncio.gather(*keeping)
        finally:
            await cancel_all(keeping)


@asynccontextmanager
async def servers(
    data: Path, *, nats_port: int | None = None, redis_port: int | None = None
) -> AsyncGenerator[Endpoints]:
    """Run both servers, with their data under `data`, until the block ends.

    A server without a given port uses its default port (NATS 4222, Valkey 6379) if that is free, else any free port.

    Raises:
        EmbeddedError: A server does not start.
    """
    nats, valkey = NatsServer(data / "nats", nats_port), ValkeyServer(data / "valkey", redis_port)
    try:
        await nats.start()
        await valkey.start()
        yield Endpoints(nats, valkey)
    finally:
        await nats.stop()
        await valkey.stop()
