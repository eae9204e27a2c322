"""Servers for tests: shared by many, or a test's own, which it may stop."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app.command import embedded
from app.command.embedded import Server, free_port
from tests.containers import engine_answers, nats_container, redis_container
from tests.watchdog import MEMORY, RUN, prefix

ENOUGH = 4 * 1024**3  # bytes; containers often have next to nothing there


class Breakable(Server):
    """An embedded server that a test may kill or freeze."""

    async def kill(self) -> None:
        """Kill the server with SIGKILL, as in a crash."""
        self._signal(signal.SIGKILL)
        await self.stop()

    def pause(self) -> None:
        """Freeze the server: connections stay open, but it does not reply."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue a frozen server."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.runs:
            os.kill(self._process.pid, number)


AnyServer = TypeVar("AnyServer", bound=Breakable)


class NatsServer(Breakable, embedded.NatsServer):
    """A NATS server that a test may break."""


class ValkeyServer(Breakable, embedded.ValkeyServer):
    """A Valkey server that a test may break."""


@dataclass(frozen=True)
class Servers:
    """The addresses of the servers of a test."""

    nats_url: str
    redis_url: str


@asynccontextmanager
async def shared_servers() -> AsyncIterator[Servers]:
    """A NATS and a Valkey that no test stops: containers if an engine is running, else bundled binaries."""
    if engine_answers():
        with nats_container() as nats_url, redis_container() as redis_url:
            yield Servers(nats_url, redis_url)
        return
    with in_memory() as folder:
        async with nats_server_in(folder / "nats") as nats_server, valkey_in(folder / "valkey") as valkey:
            yield Servers(nats_server.url, valkey.url)


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder for the data of servers that no test kills, in memory if possible, because it is faster than a disk."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH
    begins = prefix(os.environ.get(RUN, ""))
    with tempfile.TemporaryDirectory(prefix=begins, dir=MEMORY if roomy else None) as folder:
        yield Path(folder)


@asynccontextmanager
async def running_server(server: AnyServer) -> AsyncIterator[AnyServer]:
    """Start a server, and stop it when the body ends; the body may pause, kill and start it."""
    await server.start()
    try:
        yield server
    finally:
        server.resume()
        await server.stop()


def nats_server_in(folder: Path) -> AbstractAsyncContextManager[NatsServer]:
    """Run a NATS server with its data in the folder."""
    return running_server(NatsServer(folder, free_port()))


def valkey_in(folder: Path) -> AbstractAsyncContextManager[ValkeyServer]:
    """Run a Valkey server with its data in the folder."""
    return running_server(ValkeyServer(folder, free_port()))
