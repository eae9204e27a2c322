"""The service on this machine: embedded servers where none are named, and the worker as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import IO

from app.client import Client, ClientError, NoServerError
from app.embedded import Endpoints, Guarded, free_port, is_free, servers
from app.engines.cores import windows_at_once
from app.settings import MOST_WINDOWS, Settings

HTTP_PORT = 8000
LOOK_EVERY = 0.1  # seconds
GRACE = 20.0  # seconds beyond TASK_GRACE: a worker gives its task back before it ends


class PortInUseError(ClientError):
    """The documentation page cannot be served where it should."""

    def __init__(self, port: int) -> None:
        super().__init__(f"Port {port} is in use: choose another with --port, or none for any that is free.")


class Service:
    """A worker, and where it and its servers are found."""

    def __init__(
        self,
        worker: Callable[[], Guarded],
        servers: Mapping[str, str],
        embedded: Endpoints | None,
        *,
        host: str,
        port: int,
    ) -> None:
        self.servers = servers
        self.embedded = embedded
        self.worker = worker()
        self._start = worker
        self._host = host
        self._port = port

    @property
    def docs(self) -> str:
        """The page that documents subjects and messages."""
        return f"http://{self._host}:{self._port}/docs"

    async def becomes_ready(self) -> bool:
        """Wait until it takes tasks; False where the worker ended before."""
        while not self.worker.ended:
            if await self._is_ready():
                return True
            await asyncio.sleep(LOOK_EVERY)
        return False

    def restart(self) -> None:
        """Start another worker for one that has ended."""
        self.worker = self._start()

    async def _is_ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(f"GET /health/ready HTTP/1.0\r\nHost: {self._host}\r\n\r\n".encode())
            answer = await reader.readline()
            writer.close()
        except OSError:
            return False
        return b" 200 " in answer


@asynccontextmanager
async def service(
    data: Path, *, workers: int = 1, host: str = "127.0.0.1", port: int | None = None, output: IO[bytes] | None = None
) -> AsyncGenerator[Service]:
    """Run the service until the block ends, then stop the worker before its servers.

    Raises EmbeddedError, PortInUseError, and UnreachableError where NATS_URL names a server that does not answer.
    """
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    if port is not None and not is_free(port, host):
        raise PortInUseError(port)
    port = port or (HTTP_PORT if is_free(HTTP_PORT, host) else free_port())
    settings = Settings()
    async with _servers(data, settings) as (found, embedded):
        command = [sys.executable, "-m", "faststream", "run", "app.main:app", "--host", host, "--port", str(port)]
        environment = {**os.environ, **found}
        if workers > 1:
            command += ["--workers", str(workers)]
            environment["ENGINE_PARALLEL"] = str(share_of_cores(settings, workers))
        grace = settings.task_grace + GRACE
        worker = partial(Guarded, command, lock=data / "worker.lock", grace=grace, output=output, env=environment)
        running = Service(worker, found, embedded, host=host, port=port)
        try:
            yield running
        finally:
            await running.worker.stop()


def share_of_cores(settings: Settings, workers: int) -> int:
    """How many windows each of the workers transcribes at the same time: what the operator says, or an equal share."""
    return min(windows_at_once(settings.engine_parallel, settings.engine_threads * workers), MOST_WINDOWS)


@asynccontextmanager
async def _servers(data: Path, settings: Settings) -> AsyncGenerator[tuple[dict[str, str], Endpoints | None]]:
    """The servers that the settings name, else embedded ones: as settings of the worker, and to look after."""
    named = settings.model_fields_set
    if "nats_url" in named:
        await _look_for_nats(settings)
    if {"nats_url", "redis_url"} <= named:
        yield {"NATS_URL": settings.nats_url, "REDIS_URL": settings.redis_url}, None
        return
    async with servers(data) as embedded:
        nats_url = settings.nats_url if "nats_url" in named else embedded.nats_url
        redis_url = settings.redis_url if "redis_url" in named else embedded.redis_url
        yield {"NATS_URL": nats_url, "REDIS_URL": redis_url}, embedded


async def _look_for_nats(settings: Settings) -> None:
    """Say at once what the worker would find out after half a minute (UnreachableError)."""
    try:
        async with Client(settings):
            pass
    except NoServerError as error:
        what_to_do = "start it, correct NATS_URL, or unset it to have one started here"
        raise NoServerError(error.place, what_to_do) from error


def stop_signals() -> asyncio.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
