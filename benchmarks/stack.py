"""The servers and child processes of one measurement."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from nats import connect
from nats.aio.client import Client as Nats
from redis.asyncio import Redis

from app.command.embedded import GuardedProcess, NatsServer, ValkeyServer, free_port

ROOT = Path(__file__).parents[1]
GRACE = 5.0  # seconds
READY_WITHIN = 120.0  # seconds, on a busy machine
LOG_TAIL = 600  # characters
SYNC_LATER = "2m"  # the default of nats-server


class MeasurementError(Exception):
    """A measurement failed; the message says why."""


@dataclass(frozen=True)
class Stack:
    """A new NATS and a new Valkey for one measurement, with a client of each."""

    folder: Path
    nats_url: str
    redis_url: str
    nats: Nats
    redis: Redis
    nats_pid: int = 0  # 0: a cluster

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a child process: the servers, one thread for each engine, where our modules are."""
        return {
            **os.environ,
            "NATS_URL": self.nats_url,
            "REDIS_URL": self.redis_url,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "LOG_LEVEL": "WARNING",
            **(extra or {}),
        }

    @asynccontextmanager
    async def running(self, command: Sequence[str], extra: Mapping[str, str] | None = None) -> AsyncIterator["Child"]:
        """Run a program until the body ends."""
        log = self.folder / f"{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            process = GuardedProcess(
                command, lock=log.with_suffix(".lock"), grace=GRACE, output=output, env=self.environment(extra)
            )
        try:
            yield Child(process, log)
        finally:
            await process.stop()


@dataclass(frozen=True)
class Child:
    """A running program and its log."""

    process: GuardedProcess
    log: Path

    def check(self) -> None:
        """Check that the program runs.

        Raises:
            MeasurementError: It has ended.
        """
        if self.process.ended:
            raise MeasurementError(self.log.read_text(errors="replace")[-LOG_TAIL:])

    async def until(self, reached: Callable[[], Awaitable[bool]], *, every: float = 0.02, within: float = 60.0) -> None:
        """Wait for a condition while the program runs.

        Raises:
            MeasurementError: The program has ended, or the condition takes too long.
        """
        deadline = time.monotonic() + within
        while not await reached():
            self.check()
            if time.monotonic() > deadline:
                message = f"not done within {within:g} s"
                raise MeasurementError(message)
            await asyncio.sleep(every)

    def tree(self) -> list[psutil.Process]:
        """Its process and all child processes."""
        self.check()
        if not self.process.runs:
            return []
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        return []


Prepare = Callable[[Stack], Awaitable[None]]


@asynccontextmanager
async def fresh(prepare: Prepare | None = None) -> AsyncIterator[Stack]:
    """Servers without any data but what `prepare` puts there, which need not wait for the disk."""
    with tempfile.TemporaryDirectory(prefix="natscribe-bench-") as name:
        folder, port = Path(name), free_port()
        if prepare is not None:
            async with _servers(folder, port, sync_interval=SYNC_LATER) as stack:
                await prepare(stack)
            await asyncio.to_thread(os.sync)  # what was put there is not to be written while something is measured
        async with _servers(folder, port) as stack:
            yield stack


@asynccontextmanager
async def _servers(folder: Path, port: int, *, sync_interval: str = "always") -> AsyncIterator[Stack]:
    nats = NatsServer(folder / "nats", port, sync_interval=sync_interval)
    try:
        await nats.start()
        async with stack_with(folder, nats.url) as stack:
            yield replace(stack, nats_pid=nats.pid)
    finally:
        await nats.stop()


@asynccontextmanager
async def stack_with(folder: Path, nats_url: str) -> AsyncIterator[Stack]:
    """A new Valkey for a NATS that runs already; `nats_url` may have several addresses."""
    valkey = ValkeyServer(folder / "valkey", free_port())
    try:
        await valkey.start()
        client, redis = await connect(nats_url.split(",")), Redis.from_url(valkey.url)
        try:
            yield Stack(folder, nats_url, valkey.url, client, redis)
        finally:
            await client.close()
            await redis.aclose()
    finally:
        await valkey.stop()


def python(module: str, *arguments: str, interpreter: str = sys.executable) -> list[str]:
    """The command that runs one of our modules."""
    return [interpreter, "-m", module, *arguments]
