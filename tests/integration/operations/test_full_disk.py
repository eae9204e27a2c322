"""JetStream may store no more: an upload says so, and what is stored stays."""

import asyncio
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
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.workers import Problem

from app.command.embedded import NatsServer, ValkeyServer, free_port
from app.settings import Settings
from tests.conftest import quick_settings, recordings_in
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.integration.operations.test_backup import end_of
from tests.servers import Servers
from tests.waiting import eventually
from tests.workers import working

RECORDING = Path(__file__).parents[3] / "app/command/demo/two_readers.flac"
ROOM = RECORDING.stat().st_size * 3 // 2  # for one recording
TASKS, FULL_S = 10, 20.0


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


async def fill(server: NatsServer, subject: str = "$O.audio.C.filler") -> None:
    nc = await nats.connect(server.url)
    with suppress(APIError):  # there is no room
        while True:
            await nc.jetstream().publish(subject, bytes(200))
    await nc.close()


async def test_a_disk_that_is_full_for_a_while_costs_no_task_and_no_attempt(
    small: SmallNats, valkey: ValkeyServer, tmp_path: Path
) -> None:
    engine, ids = FakeEngine(), [f"t{number}" for number in range(TASKS)]
    settings = quick_settings(Servers(small.url, valkey.url), recordings_in(tmp_path))
    async with working(settings, engine), await nats.connect(small.url) as nc:
        # Given tasks that run and wait, and a disk that is full
        publisher, js = Publisher(nc), nc.jetstream()
        engine.may_go_on.clear()
        for task_id in ids:
            await publisher.publish(task_id)
        await publisher.until(ids[0], State.RUNNING)
        await js.add_stream(name="filler", subjects=["filler"])
        await fill(small, "filler")
        # When the engine continues, then nothing is lost and nothing ends, as long as nothing can be stored
        engine.may_go_on.set()
        await asyncio.sleep(FULL_S)  # the outage itself
        assert (await publisher.request(subjects.STATUS, task_id=ids[0]))["state"] == State.RUNNING
        with pytest.raises(APIError):
            await publisher.publish("refused")
        # And once there is room, each task is completed, without another attempt
        await js.delete_stream("filler")
        events = [await publisher.until(task_id, State.COMPLETED) for task_id in ids]
        await publisher.reaching(State.COMPLETED, "next")
        assert {event.attempt for log in events for event in log if event.state is State.RUNNING} == {1}
        assert all([event.sequence for event in log] == list(range(1, len(log) + 1)) for log in events)
        stored = (await js.stream_info("transcription_results", subjects_filter=">")).state.subjects
        assert stored == {subjects.results(task_id): 1 for task_id in [*ids, "next"]}
        # And the lease, the voices and the quotas can be stored again
        await eventually(lambda: nothing_is_wrong(settings))


async def nothing_is_wrong(settings: Settings) -> bool:
    return await problems(settings) == []


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
