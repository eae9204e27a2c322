"""Embedded servers: NATS with JetStream, and Valkey, from Python packages, on 127.0.0.1, data in a folder."""

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
    """The embedded servers, and where they answer."""

    nats: NatsServer
    valkey: ValkeyServer

    @property
    def nats_url(self) -> str:
        """Where NATS answers."""
        return self.nats.url

    @property
    def redis_url(self) -> str:
        """Where Valkey answers."""
        return self.valkey.url

    async def keep(self, told: Callable[[str], None]) -> None:
        """Start each server again whenever it ends, until cancelled; `told` hears its name (EmbeddedError)."""
        keeping = [asyncio.create_task(server.keep(told)) for server in (self.nats, self.valkey)]
        try:
            await asyncio.gather(*keeping)
        finally:
            await cancel_all(keeping)


@asynccontextmanager
async def servers(
    data: Path, *, nats_port: int | None = None, redis_port: int | None = None
) -> AsyncGenerator[Endpoints]:
    """Run both servers with their data under `data`; raises EmbeddedError.

    A port that is not given is the usual one (4222, 6379) where that is free, else any free one.
    """
    nats, valkey = NatsServer(data / "nats", nats_port), ValkeyServer(data / "valkey", redis_port)
    try:
        await nats.start()
        await valkey.start()
        yield Endpoints(nats, valkey)
    finally:
        await nats.stop()
        await valkey.stop()
