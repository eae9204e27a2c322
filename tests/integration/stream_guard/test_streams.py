"""Streams, consumers and buckets as the server has them after provisioning."""

import pytest
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
)
from nats.js.errors import APIError
from natscribe.schemas.live import MAX_FRAME_BYTES
from structlog.testing import capture_logs

from app.fleet.stream_guard.provisioning import provision
from app.settings import Settings

DAY = 24 * 3600


@pytest.fixture
def settings(settings: Settings) -> Settings:
    changes = {
        "audio_store": "nats://audio",
        "audio_ttl": 3600.0,
        "task_ack_wait": 17,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
async def made(settings: Settings, js: JetStreamContext) -> JetStreamContext:
    await provision(js, settings)
    return js


async def differences(js: JetStreamContext, settings: Settings) -> list[tuple[object, object]]:
    with capture_logs() as logs:
        await provision(js, settings)
    return [(entry["of"], entry["setting"]) for entry in logs if entry["event"] == "configuration_difference_found"]


async def test_live_audio_is_never_dropped_untranscribed(made: JetStreamContext) -> None:
    config = (await made.stream_info("transcription_live")).config
    assert (config.storage, config.discard) == (StorageType.FILE, DiscardPolicy.NEW)
    # And a frame that is larger than the contract allows is refused
    with pytest.raises(APIError) as refused:
        await made.publish("live.audio.live-1", bytes(MAX_FRAME_BYTES + 8192))
    assert refused.value.err_code == 10054


# People wait for live text, so its worker counts as dead sooner
@pytest.mark.parametrize(("slots", "ack_wait"), [("recordings", 17), ("live", 3.5)])
async def test_granted_tasks_wait_for_a_worker(made: JetStreamContext, slots: str, ack_wait: float) -> None:
    stream = (await made.stream_info("transcription_ready")).config
    assert (stream.subjects, stream.retention) == (["ready.*.*"], RetentionPolicy.WORK_QUEUE)
    config = (await made.consumer_info("transcription_ready", f"transcription_worker_ready_{slots}")).config
    assert config.filter_subject == f"ready.{slots}.*"
    assert (config.ack_policy, config.deliver_policy) == (AckPolicy.EXPLICIT, DeliverPolicy.ALL)
    assert config.ack_wait == ack_wait
    assert config.max_deliver == -1  # attempts are counted in the log


@pytest.mark.parametrize("of", ["progress", "results"])
async def test_a_projection_begins_with_the_last_of_each_task(made: JetStreamContext, of: str) -> None:
    config = (await made.consumer_info(f"transcription_{of}", f"transcription_worker_projection_{of}")).config
    assert (config.filter_subject, config.deliver_policy) == (f"{of}.*", DeliverPolicy.LAST_PER_SUBJECT)
    assert (config.ack_policy, config.ack_wait, config.max_deliver) == (AckPolicy.EXPLICIT, 17, -1)


async def test_recordings_stay_as_long_as_the_setting_says(made: JetStreamContext) -> None:
    assert (await made.stream_info("OBJ_audio")).config.max_age == 3600 + 90 * DAY


async def test_a_new_stream_is_as_it_should_be(settings: Settings, js: JetStreamContext) -> None:
    assert await differences(js, settings) == []
    assert await differences(js, settings) == []
