"""Embedded servers: runs NATS with JetStream, and Valkey, on 127.0.0.1, from binaries in Python packages."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from app.command.embedded.guarded_process import GuardedProcess as GuardedProcess
from app.command.embedded.process import EmbeddedError as EmbeddedError
from app.command.embedded.process import Server as Server
from app.command.embedded.process import free_port as free_port
from app.command.embedded.process import is_free as is_free
from app.command.embedded.servers import NatsServer as NatsServer
from app.command.embedded.servers import ValkeyServer as ValkeyServer


@asynccontextmanager
async def running(*servers: Server) -> AsyncGenerator[None]:
    """Run servers until the block ends.

    A server without a given port uses its default port (NATS 4222, Valkey 6379) if that is free, else any free port.

    Raises:
        EmbeddedError: A server does not start.
    """
    try:
        for server in servers:
            await server.start()
        yield
    finally:
        for server in servers:
            await server.stop()
