"""Runs the service on this machine: workers in a separate process, with embedded servers for unset addresses."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from natscribe.client import Client, ClientError, NoServerError

from app.command.embedded import EmbeddedError, GuardedProcess, NatsServer, Server, ValkeyServer, running
from app.command.page import PageOptions, WebPage, choose_page
from app.command.ports import choose_port
from app.command.services import check_services, service
from app.engines.cores import windows_at_once
from app.settings import MOST_WINDOWS, Settings

HTTP_PORT = 8000  # the default port of the documentation page
_READY_CHECK_EVERY_S = 0.1
_GRACE_S = 20.0  # after TASK_GRACE, a worker releases its task and ends within this time


@dataclass
class LocalService:
    """The service on this machine: a worker process that `start` starts, and the servers that it uses.

    `servers`: the addresses of all servers, as NATS_URL and REDIS_URL. `embedded`: the servers that this command has
    started. `host`, `port`: the address at which the worker serves health checks and the documentation page. `page`:
    the web page on which people can try the service; None: it is not served. `services`: what starts each service on
    top of the events, which follow the worker's messages.
    """

    start: Callable[[], GuardedProcess]
    servers: Mapping[str, str]
    embedded: Sequence[Server]
    host: str
    port: int
    page: WebPage | None = None
    services: Mapping[str, Callable[[], GuardedProcess]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.worker = self.start()

    @property
    def docs(self) -> str:
        """The address of the documentation page."""
        return f"http://{self.host}:{self.port}/docs"

    async def wait_until_ready(self) -> bool:
        """Wait until the worker has loaded its model and is ready for tasks; return False if the worker ends before."""
        while not self.worker.ended:
            if await self._is_healthy("startup") and await self._is_healthy("ready"):
                return True
            await asyncio.sleep(_READY_CHECK_EVERY_S)
        return False

    def restart(self) -> None:
        """Start another worker process after the previous one has ended."""
        self.worker = self.start()

    async def _is_healthy(self, check: str) -> bool:
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(f"GET /health/{check} HTTP/1.0\r\nHost: {self.host}\r\n\r\n".encode())
            status_line = await reader.readline()
            writer.close()
        except OSError:
            return False
        return b" 200 " in status_line


@contextmanager
def report_unwritable() -> Generator[None]:
    """If the block cannot create or open a file, raise an error that advises to start the command in another folder.

    Raises:
        EmbeddedError: A file or folder cannot be created or opened.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:  # it is not about a file
            raise
        message = f"{Path(error.filename).absolute()} cannot be written ({error.strerror}): start in another folder"
        raise EmbeddedError(message) from error


@asynccontextmanager
async def run_service(  # noqa: PLR0913 -- what the commands `up` and `demo` choose
    data: Path,
    *,
    workers: int = 1,
    host: str = "127.0.0.1",
    port: int | None = None,
    output: IO[bytes] | None = None,
    embed_all: bool = False,
    page: PageOptions | None = None,
    services: Collection[str] = (),
) -> AsyncGenerator[LocalService]:
    """Run a worker and the servers that it needs until the block ends; then stop the worker before the servers.

    `data`: the folder for the data of the embedded servers. `port`: of the worker's HTTP server; None: HTTP_PORT if
    that is free, otherwise any free port. `output`: receives the worker's output. `embed_all`: embed NATS and Valkey
    even if NATS_URL or REDIS_URL is set. `page`: the options of the web page, which connects to the embedded NATS by
    WebSocket; None: serve no page. `services`: the names of services on top of the events.

    Raises:
        EmbeddedError: An embedded server does not start.
        ClientError: `page` needs an embedded NATS, but NATS_URL names an external server; other workers already use
            NATS_URL, but REDIS_URL is not set; another process uses a port; or one of `services` cannot run.
        UnreachableError: NATS_URL names a server that does not reply.
    """
    check_services(services)
    await asyncio.to_thread(data.mkdir, parents=True, exist_ok=True)
    port = choose_port(port, HTTP_PORT, "--port", host)
    settings = Settings()
    named = set() if embed_all else {"nats_url", "redis_url"} & settings.model_fields_set
    web_page = choose_page(page, data, names_nats="nats_url" in named, http_port=port)
    async with _servers(data, settings, named, web_page.nats_config if web_page else "") as (addresses, embedded):
        command = [sys.executable, "-m", "faststream", "run", "app.main:app", "--host", host, "--port", str(port)]
        env = {**os.environ, **addresses}
        if workers > 1:
            command += ["--workers", str(workers)]
            env["ENGINE_PARALLEL"] = str(windows_per_worker(settings, workers))
        grace = settings.task_grace + _GRACE_S
        worker = partial(GuardedProcess, command, lock=data / "worker.lock", grace=grace, output=output, env=env)
        with web_page.served(settings) if web_page else nullcontext():
            followers = {name: service(name, data, addresses) for name in services}
            local = LocalService(worker, addresses, embedded, host=host, port=port, page=web_page, services=followers)
            try:
                yield local
            finally:
                await local.worker.stop()


def windows_per_worker(settings: Settings, workers: int) -> int:
    """Return how many windows (parts of a recording) each worker transcribes at once.

    That is the setting ENGINE_PARALLEL or, if it is 0, as many as an equal share of the cores allows; at most
    MOST_WINDOWS.
    """
    return min(windows_at_once(settings.engine_parallel, settings.engine_threads * workers), MOST_WINDOWS)


@asynccontextmanager
async def _servers(
    data: Path, settings: Settings, named: set[str], more_config: str
) -> AsyncGenerator[tuple[dict[str, str], Sequence[Server]]]:
    """Run embedded servers until the block ends; yield the addresses of all servers, and the embedded servers.

    `named`: `nats_url` and `redis_url`, if these settings name external servers, which are then not embedded.
    `more_config`: text that is added to the configuration of the embedded NATS.
    """
    if "nats_url" in named:
        await _check_nats(settings, has_redis="redis_url" in named)
    embedded: dict[str, Server] = {}
    if "nats_url" not in named:
        embedded["NATS_URL"] = NatsServer(data / "nats", more_config=more_config)
    if "redis_url" not in named:
        embedded["REDIS_URL"] = ValkeyServer(data / "valkey")
    async with running(*embedded.values()):
        addresses = {"NATS_URL": settings.nats_url, "REDIS_URL": settings.redis_url}
        yield addresses | {name: server.url for name, server in embedded.items()}, list(embedded.values())


async def _check_nats(settings: Settings, *, has_redis: bool) -> None:
    """Check the connection to an external NATS, because the worker itself would report a failure only after 30 s.

    `has_redis`: whether REDIS_URL names an external Redis; otherwise the worker would use an embedded one.

    Raises:
        ClientError: Other workers already use this NATS, so this worker needs their Redis instead of an embedded one.
        UnreachableError: NATS_URL names a server that does not reply.
    """
    try:
        async with Client(settings) as client:
            if not has_redis and await _has_workers(client):
                what = f"Workers already use NATS at {settings.nats_addresses}"
                next_step = "set REDIS_URL to the Redis that they use, or unset NATS_URL for embedded servers"
                raise ClientError(what, next_step)
    except NoServerError as error:
        next_step = "start it, correct NATS_URL, or unset NATS_URL for an embedded server"
        raise NoServerError(error.addresses, next_step) from error


async def _has_workers(client: Client) -> bool:
    try:
        return bool(await client.workers())
    except ClientError:
        return False


def on_stop_signal(act: Callable[[], object]) -> None:
    """Call `act` on Ctrl-C, on SIGTERM, and when the terminal closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, act)
