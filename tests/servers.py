"""Servers of a test's own, to be hurt."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from app.embedded import NatsServer, ValkeyServer, free_port

MEMORY = Path("/dev/shm")  # noqa: S108 -- a folder of a random name is made in it
ENOUGH = 4 * 1024**3  # bytes; containers often have next to nothing there


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for the data of servers that nobody kills: waiting for a disk would show nothing."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH
    with tempfile.TemporaryDirectory(prefix="natscribe-tests-", dir=MEMORY if roomy else None) as folder:
        yield Path(folder)


@asynccontextmanager
async def nats_server_in(folder: Path) -> AsyncIterator[NatsServer]:
    """A NATS server with its data in the folder, until the body ends; the body may pause, kill and start it."""
    server = NatsServer(folder, free_port())
    await server.start()
    try:
        yield server
    finally:
        server.resume()
        await server.stop()


@asynccontextmanager
async def valkey_in(folder: Path) -> AsyncIterator[ValkeyServer]:
    """A Valkey server with its data in the folder, until the body ends."""
    server = ValkeyServer(folder, free_port())
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
