"""Stop, copy the data of NATS, start elsewhere: nothing is lost, and Redis needs no copy."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.voices import Consent
from natscribe.schemas.wire import Priority
from redis.asyncio import Redis

from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.telemetry.test_metrics import sample
from tests.servers import nats_server_in, valkey_in
from tests.waiting import eventually
from tests.workers import working

RECORDING = Path(__file__).parents[3] / "app/command/demo/two_readers.flac"
DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")


@asynccontextmanager
async def host(folder: Path) -> AsyncIterator[Settings]:
    """A host with servers of its own; Redis is empty at first."""
    async with nats_server_in(folder / "nats") as nats_server, valkey_in(folder / "valkey") as valkey:
        yield Settings(
            _env_file=None,
            nats_url=nats_server.url,
            redis_url=valkey.url,
            cache_ttl=0,
            task_grace=0.1,
            task_ack_wait=1,
            task_heartbeat=0.25,
        )


async def end_of(client: Client, task: str) -> ProgressEvent:
    last = [event async for event in client.follow(task) if isinstance(event, ProgressEvent)][-1]
    assert last.state.ended
    return last


@pytest.mark.timeout(120)
async def test_a_copy_of_the_data_of_nats_goes_on_elsewhere(tmp_path: Path) -> None:
    engine = FakeEngine(windows=4)
    # Given a host with a task that is done and gave a voice, one that has failed, one that is at its third window,
    # and one that waits
    async with host(tmp_path / "first") as settings, Client(settings) as client:
        async with working(settings, engine):
            done = await client.create_transcription_task(RECORDING, diarize=True, identify=True)
            assert (await end_of(client, done)).state is State.COMPLETED
            consent = Consent(by="Anna", at=datetime.now(UTC))
            anna = await client.enroll_voice(done, "SPEAKER_00", name="Anna", consent=consent)
            engine.fail_with = [DIED]
            failed = await client.create_transcription_task(RECORDING)
            assert (await end_of(client, failed)).state is State.FAILED
            engine.hangs_after = [2]
            half_done = await client.create_transcription_task(RECORDING, priority=Priority.HIGH)
            async for event in client.follow(half_done):
                if isinstance(event, SegmentsEvent):
                    break
            waiting = await client.create_transcription_task(RECORDING, priority=Priority.LOW)
            text = await client.get_task_result(done)
    # When all is stopped, and what NATS has stored is copied to another host
    (tmp_path / "second").mkdir()
    shutil.copytree(tmp_path / "first/nats/jetstream", tmp_path / "second/nats/jetstream")
    shutil.rmtree(tmp_path / "first")
    async with (
        host(tmp_path / "second") as settings,
        Client(settings) as client,
        working(settings, FakeEngine(windows=4)) as worker,
    ):
        # Then what was half done is continued from its checkpoint, and what waited is done
        assert (await end_of(client, half_done)).state is State.COMPLETED
        assert sample(worker, "natscribe_task_resumes_total", ("task_name", "process_transcription")) == 1
        assert (await end_of(client, waiting)).state is State.COMPLETED
        result = await client.get_task_result(half_done)
        assert isinstance(result, TranscriptionResult)
        assert len(result.segments) == 4
        # And what was done and what had failed is there
        assert await client.get_task_result(done) == text
        assert [voice async for voice in client.voices()] == [anna]
        assert [letter.task_id async for letter in client.dead_letters()] == [failed]
        # And the recording of the dead letter can be used again
        assert await client.replay(task_id=failed) == 1
        assert (await end_of(client, failed)).state is State.COMPLETED
        # And Redis is filled
        async with Redis.from_url(settings.redis_url) as redis:
            keys = [f"task:{task}:result" for task in (done, half_done, waiting, failed)]

            async def all_are_there() -> bool:
                return await redis.exists(*keys) == len(keys)

            await eventually(all_are_there)
