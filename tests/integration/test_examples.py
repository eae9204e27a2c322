"""The examples that run for long: services of other people, which hear of results."""

import json
from contextlib import suppress

import pytest
from nats.errors import NoRespondersError
from natscribe.schemas.progress import State

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, started
from tests.waiting import eventually

SHORT = "one two"
LONG = f"{'o' * 10_000} {'t' * 10_000}"  # in each window: more than a message holds, since a result has its text twice
WINDOWS = 30


@pytest.mark.parametrize("text", [SHORT, LONG], ids=["short", "long"])
async def test_the_follower_hears_what_it_missed(
    publisher: Publisher, worker: Worker, engine: FakeEngine, text: str
) -> None:
    # Given a result that came before the follower
    engine.windows, engine.text = WINDOWS, text
    await publisher.publish("t1", word_timestamps=True)
    await publisher.until("t1", State.COMPLETED)
    assert await is_an_object(publisher, "t1") == (text == LONG)
    # When it starts
    async with started(worker.settings.nats_url, BIN / "python", "follower.py") as follower:
        # Then it hears of it, whole
        assert f"{WINDOWS} segments" in await line_with(follower, "t1 transcription")


@pytest.mark.parametrize(
    ("example", "text"),
    [("faststream_client", SHORT), ("faststream_client", LONG), ("faststream_typed", LONG)],
    ids=["short", "long", "typed"],
)
async def test_a_faststream_service_has_recordings_transcribed(
    publisher: Publisher, worker: Worker, engine: FakeEngine, example: str, text: str
) -> None:
    # Given a service that speaks of recordings and transcripts, with schemas of its own or with those of the package
    engine.windows, engine.text = WINDOWS, text
    heard = await publisher.nc.subscribe("transcripts.ready")
    recording = {"id": "r1", "name": "meeting.flac", "user_id": 1}

    async def told() -> bool:
        with suppress(NoRespondersError):
            return bool(await publisher.nc.request("recordings.uploaded", json.dumps(recording).encode(), timeout=5))
        return False

    async with started(worker.settings.nats_url, BIN / "faststream", "run", f"{example}:app"):
        # When somebody tells it of a recording
        await eventually(told)
        # Then it tells its own world of the transcript
        ready = json.loads((await heard.next_msg(WITHIN)).data)
    assert await is_an_object(publisher, "r1") == (text == LONG)
    assert ready["task_id"] == "r1"
    assert {line.partition(":")[0] for line in ready["lines"]} == {"SPEAKER_00", "SPEAKER_01"}
    assert len(ready["lines"]) == 2 * WINDOWS


async def is_an_object(publisher: Publisher, task_id: str) -> bool:
    """Whether the result is too large for a message."""
    return bool((await publisher.ask("tasks.result", task_id=task_id))["object"])
