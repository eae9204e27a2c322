"""The service as operators run it: `faststream run app.main:app`, with real servers and real models."""

import asyncio
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult

from app.command.embedded import free_port
from app.settings import Settings
from tests.servers import nats_server_in, valkey_in
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
STARTS_WITHIN = 120.0  # seconds; the first start ever joins the bundled model
ENDS_WITHIN = 60.0
LIBRIVOX = ROOT / "tests/recordings/librivox"
TWO_READERS = ROOT / "app/command/demo/two_readers.flac"
TWO_CHANNELS = ROOT / "tests/recordings/speech/two-channels.flac"


class Running:
    """A running service and where it is."""

    def __init__(self, settings: Settings, port: int, process: asyncio.subprocess.Process) -> None:
        self.settings = settings
        self.port = port
        self.process = process

    def client(self) -> Client:
        return Client(self.settings)

    async def get(self, path: str, *, method: str = "GET", within: float = 20.0) -> tuple[int, bytes]:
        """Status and body of an HTTP response; status 0 if there is none."""
        return await asyncio.to_thread(self._get, path, method, within)

    def _get(self, path: str, method: str, within: float) -> tuple[int, bytes]:
        http_request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(http_request, timeout=within) as response:  # noqa: S310
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    async def takes_tasks(self) -> bool:
        assert self.process.returncode is None, "the service ended"
        return (await self.get("/health/ready"))[0] == 200

    async def ready(self) -> bool:
        return await self.takes_tasks() and (await self.get("/health/startup"))[0] == 200


RunService = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def running(settings: Settings, log: Path, *options: str, has_model: bool = True) -> AsyncIterator[Running]:
    """`faststream run app.main:app` until the body ends; with `has_model` it begins once a model is loaded."""
    chosen = settings.model_dump(exclude_none=True, exclude={"nats_password"})
    environment = os.environ | {name.upper(): str(value) for name, value in chosen.items()}
    port = free_port()
    command = [str(Path(sys.executable).parent / "faststream"), "run", "app.main:app", "--port", str(port), *options]
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    service = Running(settings, port, process)
    try:
        await eventually(service.ready if has_model else service.takes_tasks, within=STARTS_WITHIN)
        yield service
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
            os.killpg(process.pid, signal.SIGCONT)  # a frozen one would not end
        await asyncio.wait_for(process.wait(), ENDS_WITHIN)


async def transcribe(client: Client, recording: Path, **options: Any) -> TranscriptionResult:
    """The result of a task with these options."""
    result = await client.wait_for_result(await client.create_transcription_task(recording, **options))
    assert isinstance(result, TranscriptionResult)
    return result


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those processes that have not ended."""
    return [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


async def history(client: Client, task_id: str) -> list[ProgressEvent | SegmentsEvent]:
    """All events of a task, once it has ended."""
    return [event async for event in client.follow(task_id)]


async def owner_of(client: Client, task_id: str, workers: Iterable[Running]) -> Running:
    """The worker that has a task."""
    async for event in client.follow(task_id):
        if isinstance(event, ProgressEvent) and event.worker:
            return next(worker for worker in workers if f"-{worker.process.pid}-" in event.worker)
    raise AssertionError(task_id)


def engines_of(worker: Running) -> list[psutil.Process]:
    """The engine processes of a worker; that of live audio, which starts when it is needed, is the last one."""
    children = psutil.Process(worker.process.pid).children()
    engines = [child for child in children if "app.engines.process.child_main" in child.cmdline()]
    return sorted(engines, key=lambda engine: engine.create_time())


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[Settings]:
    """Servers of this test alone, so that a service may be all by itself."""
    async with nats_server_in(folder / "nats") as nats, valkey_in(folder / "valkey") as valkey:
        yield Settings(_env_file=None, nats_url=nats.url, redis_url=valkey.url, cache_ttl=0)  # each task computed


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One worker for all tests that only use it."""
    folder = tmp_path_factory.mktemp("service")
    async with servers(folder) as settings, running(settings, folder / "service.log") as running_service:
        yield running_service


@pytest.fixture
async def client(service: Running) -> AsyncIterator[Client]:
    async with service.client() as connected:
        yield connected
