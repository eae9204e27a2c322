"""The examples that run for long: services of other people, which hear of results."""

import json
from contextlib import suppress

import pytest
from nats.errors import NoRespondersError

from app.main import Worker
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, started
from tests.waiting import eventually

MORE_THAN_A_MESSAGE_HOLDS = 4800  # windows with words


@pytest.mark.parametrize("windows", [3, MORE_THAN_A_MESSAGE_HOLDS])
async def test_the_follower_hears_what_it_missed(
    publisher: Publisher, worker: Worker, engine: FakeEngine, windows: int
) -> None:
    # Given a result that came before the follower
    engine.windows = windows
    await publisher.publish("t1", word_timestamps=True)
    await publisher.until("t1", State.COMPLETED)
    # When it starts
    async with started(worker.settings.nats_url, BIN / "python", "follower.py") as follower:
        # Then it hears of it, whole
        assert f"{windows} segments" in await line_with(follower, "t1 transcription")


@pytest.mark.parametrize("windows", [3, MORE_THAN_A_MESSAGE_HOLDS])
async def test_the_faststream_client_has_its_own_words_for_all_of_it(
    publisher: Publisher, worker: Worker, engine: FakeEngine, windows: int
) -> None:
    # Given a service with schemas of its own
    engine.windows = windows
    heard = await publisher.nc.subscribe("transcripts.ready")
    recording = {"id": "r1", "name": "meeting.flac", "user_id": 1}

    async def told() -> bool:
        with suppress(NoRespondersError):
            return bool(await publisher.nc.request("recordings.uploaded", json.dumps(recording).encode(), timeout=5))
        return False

    async with started(worker.settings.nats_url, BIN / "faststream", "run", "faststream_client:app"):
        # When somebody tells it of a recording
        await eventually(told)
        # Then it tells its own world of the transcript
        ready = json.loads((await heard.next_msg(WITHIN)).data)
    assert ready["task_id"] == "r1"
    assert {line.partition(":")[0] for line in ready["lines"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert len(ready["lines"]) == 2 * windows
