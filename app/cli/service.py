"""The service on this machine: embedded servers where none are named, and the worker as a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from app.embedded import Guarded, free_port, is_free, servers
from app.settings import Settings

HTTP_PORT = 8000
GRACE = 30.0  # seconds: a worker gives its task back before it ends


@dataclass(frozen=True)
class Service:
    """A worker, and where it and its servers are found."""

    worker: Guarded
    servers: Mapping[str, str]
    host: str
    port: int

    @property
    def docs(self) -> str:
        """The page that documents subjects and messages."""
        return f"http://{self.host}:{self.port}/docs"

    async def ready(self) -> bool:
        """Whether it takes tasks."""
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            return False
        writer.write(f"GET /health/ready HTTP/1.0\r\nHost: {self.host}\r\n\r\n".encode())
        answer = await reader.readline()
        writer.close()
        return b" 200 " in answer


@asynccontextmanager
async def service(
    data: Path, *, workers: int = 1, host: str = "127.0.0.1", port: int | None = None, output: IO[bytes] | None = None
) -> AsyncGenerator[Service]:
    """Run the service until the block ends, then stop the worker before its servers (EmbeddedError)."""
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    port = port or (HTTP_PORT if is_free(HTTP_PORT) else free_port())
    async with _servers(data) as found:
        command = [sys.executable, "-m", "faststream", "run", "app.main:app", "--host", host, "--port", str(port)]
        if workers > 1:
            command += ["--workers", str(workers)]
        worker = Guarded(command, lock=data / "worker.lock", grace=GRACE, output=output, env={**os.environ, **found})
        try:
            yield Service(worker, found, host, port)
        finally:
            await worker.stop()


@asynccontextmanager
async def _servers(data: Path) -> AsyncGenerator[dict[str, str]]:
    """The servers that the settings name, else embedded ones."""
    settings = Settings()
    named = settings.model_fields_set
    if {"nats_url", "redis_url"} <= named:
        yield {"NATS_URL": settings.nats_url, "REDIS_URL": settings.redis_url}
        return
    async with servers(data) as embedded:
        yield {
            "NATS_URL": settings.nats_url if "nats_url" in named else embedded.nats_url,
            "REDIS_URL": settings.redis_url if "redis_url" in named else embedded.redis_url,
        }


def stop_signals() -> asyncio.Event:
    """An event that Ctrl-C, SIGTERM and a closed terminal set."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
