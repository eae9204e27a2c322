"""Workers of both versions, each a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import nats
import pytest
from nats.aio.client import Client

from app.command.embedded import free_port
from app.settings import Settings
from tests.conftest import quick_settings, recordings_in
from tests.integration.conftest import Publisher
from tests.servers import Servers, nats_server_in, valkey_in
from tests.versions import variant
from tests.waiting import eventually

STARTS_WITHIN = 60.0  # seconds


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where the packages of each version are, as PYTHONPATH."""
    later = variant.build(tmp_path_factory.mktemp("versions") / "later")
    return {"this": f"{variant.ROOT}:{variant.ROOT / 'clients/python'}", "later": str(later)}


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """Servers of this test alone."""
    async with nats_server_in(tmp_path / "nats") as server, valkey_in(tmp_path / "valkey") as valkey:
        yield quick_settings(Servers(server.url, valkey.url), recordings_in(tmp_path))


@pytest.fixture
async def nc(settings: Settings) -> AsyncIterator[Client]:
    client = await nats.connect(settings.nats_url)
    yield client
    await client.close()


@pytest.fixture
def publisher(nc: Client) -> Publisher:
    return Publisher(nc)


class Versions:
    """Starts workers of either version."""

    def __init__(self, settings: Settings, folders: dict[str, str], folder: Path) -> None:
        self._settings = settings
        self._folders = folders
        self._folder = folder
        self.gate = folder / "gate"

    @asynccontextmanager
    async def running(self, version: str, **options: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A worker that replies; at the end of the body it is killed, unless it has ended."""
        chosen = self._settings.model_dump(exclude_none=True, exclude={"nats_password"})
        environment = os.environ | {name.upper(): str(value) for name, value in chosen.items()} | options
        environment |= {"PYTHONPATH": self._folders[version], "GATE": str(self.gate)}
        faststream, port = Path(sys.executable).parent / "faststream", free_port()
        with (self._folder / f"{version}.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(faststream, "run", "tests.versions.worker:app", "--port", str(port)),
                cwd=self._folders[version].partition(":")[0],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            await eventually(partial(self._takes_tasks, process, port), within=STARTS_WITHIN)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _takes_tasks(self, process: asyncio.subprocess.Process, port: int) -> bool:
        assert process.returncode is None, f"a worker ended: see {self._folder}"
        with suppress(OSError):  # nothing is at the port yet, or the worker is not ready
            (await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/health/ready")).close()
            return True
        return False


@pytest.fixture
def versions(settings: Settings, folders: dict[str, str], tmp_path: Path) -> Versions:
    return Versions(settings, folders, tmp_path)
