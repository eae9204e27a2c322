"""JetStream may store no more: an upload says so, and what is stored stays."""

import resource
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import nats
import psutil
import pytest
from nats.js.errors import APIError
from natscribe.client import Client, StorageFullError, StorageStoppedError
from natscribe.client.examination import examine
from natscribe.schemas.progress import State
from natscribe.schemas.workers import Problem

from app.embedded import NatsServer, ValkeyServer, free_port
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.operations.test_backup import end_of
from tests.workers import working

RECORDING = Path(__file__).parents[3] / "app/cli/demo/two_readers.flac"
ROOM = RECORDING.stat().st_size * 3 // 2  # for one recording


class SmallNats(NatsServer):
    """NATS with room for one recording."""

    def _command(self, port: int) -> list[str]:
        command = super()._command(port)
        config = Path(command[-1])
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace("store_dir:", f"max_file_store: {ROOM}, store_dir:"), encoding="utf-8")
        return command


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[SmallNats]:
    server = SmallNats(tmp_path / "nats", free_port())
    await server.start()
    yield server
    await server.stop()


async def test_an_upload_without_room_is_an_error_that_says_so(small: SmallNats, valkey: ValkeyServer) -> None:
    # Given a disk that has room for one recording, and a task that is done
    settings = Settings(_env_file=None, nats_url=small.url, redis_url=valkey.url)
    async with working(settings, FakeEngine()), Client(settings) as client:
        done = await client.create_transcription_task(RECORDING)
        assert (await end_of(client, done)).state is State.COMPLETED
        # When another one is uploaded, then the error says who can help
        with pytest.raises(StorageFullError, match=r"no room for two_readers\.flac: the operator"):
            await client.create_transcription_task(RECORDING)
        # And what was done is there
        assert (await client.get_task_progress(done)).state is State.COMPLETED


async def problems(settings: Settings) -> list[Problem]:
    return (await examine(settings)).problems


async def test_a_bucket_after_a_full_disk_is_reported_until_nats_is_restarted(
    tmp_path: Path, valkey: ValkeyServer, constants: Constants
) -> None:
    # Given a service, of which nothing is wrong
    constants(RETRY_UPLOAD_FOR_S=1.0)
    server = NatsServer(tmp_path / "nats", free_port())
    await server.start()
    settings = Settings(_env_file=None, nats_url=server.url, redis_url=valkey.url)
    async with working(settings, FakeEngine()), Client(settings) as client:
        assert await problems(settings) == []
        # When NATS cannot write what is uploaded, as on a full disk
        process = psutil.Process(server.pid)
        limits = process.rlimit(resource.RLIMIT_FSIZE)
        process.rlimit(resource.RLIMIT_FSIZE, (RECORDING.stat().st_size // 2, limits[1]))
        # Then the error says that the operator has to make room and restart NATS, and not to try again
        with pytest.raises(StorageStoppedError, match=r" because .* is or was full: the operator .* restart NATS"):
            await client.create_transcription_task(RECORDING)
        # And when there is room again, both the client and `doctor` say that the restart is missing
        process.rlimit(resource.RLIMIT_FSIZE, limits)
        with pytest.raises(StorageStoppedError):
            await client.create_transcription_task(RECORDING)
        (problem,) = await problems(settings)
        assert problem.what == "NATS answers, but does not store recordings, perhaps because its disk is or was full"
        assert "restart NATS" in problem.next_step
        # And after the restart all is well
        await server.stop()
        await server.start()
        task_id = await client.create_transcription_task(RECORDING)
        assert (await end_of(client, task_id)).state is State.COMPLETED
        assert await problems(settings) == []
    await server.stop()


async def fill(server: NatsServer) -> None:
    nc = await nats.connect(server.url)
    with suppress(APIError):  # there is no room
        while True:
            await nc.jetstream().publish("$O.audio.C.filler", bytes(200))
    await nc.close()


async def test_doctor_reports_that_the_limit_is_reached(small: SmallNats, valkey: ValkeyServer) -> None:
    # Given NATS that has no room for a message more
    settings = Settings(_env_file=None, nats_url=small.url, redis_url=valkey.url)
    async with working(settings, FakeEngine()), Client(settings) as client:
        await client.create_transcription_task(RECORDING)
        await fill(small)
        # When the service is examined, then this is reported
        (problem,) = await problems(settings)
        assert problem.what == "NATS has no room for recordings"
        assert "restart" not in problem.next_step
