"""Deleting leaves nothing of a task: no event, no key, no letter, no object, no recording."""

import pytest
from nats.js import JetStreamContext
from redis.asyncio import Redis

from app.client import Client
from app.main import Service
from app.settings import Settings
from handlers.errors import PermanentError
from schemas.errors import ErrorCode
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

NO_SOUND = PermanentError(ErrorCode.AUDIO_UNREADABLE, "The recording is no sound: upload a sound file.")
TASK_STREAMS = [f"transcription_{of}" for of in ("tasks", "progress", "segments", "results", "dead_letters")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As for all tests, but recordings lie in a bucket."""
    return settings.model_copy(update={"audio_store": "nats://audio"})


async def chunks(js: JetStreamContext, bucket: str) -> int:
    """How many pieces of objects a bucket holds."""
    held = await js.stream_info(f"OBJ_{bucket}", subjects_filter=f"$O.{bucket}.C.>")
    return sum((held.state.subjects or {}).values())


@pytest.mark.parametrize("fails", [True, False])
async def test_nothing_is_left(
    settings: Settings,
    publisher: Publisher,
    worker: Service,
    engine: FakeEngine,
    js: JetStreamContext,
    redis: Redis,
    fails: bool,
) -> None:
    # Given a task with a recording in the bucket, and a result too large for a message, or a dead letter
    engine.windows, engine.text = 30, "word " * 10_000
    engine.fail_with = [NO_SOUND] if fails else []
    await (await js.object_store("audio")).put("t1-meeting.flac", b"not looked at by a fake engine")
    await publisher.publish("t1", audio_file_id="t1-meeting.flac")
    await publisher.until("t1", State.FAILED if fails else State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
    await eventually(lambda: redis.exists("task:t1:info"))
    assert bool(await chunks(js, "results")) is not fails
    assert await chunks(js, "audio") == 1
    assert (await js.stream_info("transcription_dead_letters")).state.messages == fails
    # When it is deleted
    async with Client(settings) as client:
        await client.delete("t1")
    # Then there is nothing of it anywhere
    assert {stream: (await js.stream_info(stream)).state.messages for stream in TASK_STREAMS} == dict.fromkeys(
        TASK_STREAMS, 0
    )
    for bucket in ("OBJ_results", "OBJ_audio"):  # neither its chunks nor its name
        assert (await js.stream_info(bucket)).state.messages == 0
    assert not await redis.keys("task:*")
