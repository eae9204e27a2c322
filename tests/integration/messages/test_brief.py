"""The three automated tests of the brief, in today's terms."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionResult
from redis.asyncio import Redis

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.seen_by_clients import is_in_state
from tests.waiting import eventually


@pytest.fixture
async def client(settings: Settings, worker: Worker) -> AsyncIterator[Client]:
    async with Client(settings) as connected:
        yield connected


@pytest.fixture
def recording(recordings_folder: Path) -> Path:
    return recordings_folder / "meeting.flac"


async def test_create_a_task(
    client: Client, engine: FakeEngine, recording: Path, js: JetStreamContext, redis: Redis
) -> None:
    # Given a worker that is busy
    engine.may_go_on.clear()
    busy = await client.create_transcription_task(recording, user_id=7)
    await eventually(lambda: redis.get(f"task:{busy}:info"))
    # When a task is created
    task_id = await client.create_transcription_task(recording, user_id=7)
    # Then its id is made, it is queued, and it is stored
    assert task_id != busy
    assert (await js.stream_info("transcription_tasks")).state.messages == 2
    assert (await client.get_task_progress(task_id)).state is State.QUEUED
    assert await eventually(lambda: redis.get(f"task:{task_id}:info"))
    assert await redis.get(f"task:{task_id}:progress") == "0"
    engine.may_go_on.set()


async def test_read_the_progress(client: Client, engine: FakeEngine, recording: Path) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    task_id = await client.create_transcription_task(recording)
    await eventually(lambda: is_in_state(client, task_id, State.RUNNING))
    # When its progress is read, it is there, and it grows to the end
    assert (await client.get_task_progress(task_id)).progress == 0
    engine.may_go_on.set()
    events = [event async for event in client.follow(task_id) if isinstance(event, ProgressEvent)]
    assert [event.progress for event in events] == sorted(event.progress for event in events)
    assert (await client.get_task_progress(task_id)).progress == 100


async def test_process_a_task(client: Client, recording: Path, redis: Redis) -> None:
    # Given a task
    task_id = await client.create_transcription_task(recording, user_id=7)
    # When it has been processed
    result = await client.wait_for_result(task_id)
    # Then there is a result with its id, and the progress is 100
    assert isinstance(result, TranscriptionResult)
    assert (result.task_id, result.user_id) == (task_id, 7)
    assert await eventually(lambda: redis.get(f"task:{task_id}:result"))

    async def done() -> bool:
        return await redis.get(f"task:{task_id}:progress") == "100"

    await eventually(done)
