"""The examples that run for long: services of other people, which hear of results."""

import json
from contextlib import suppress
from functools import partial

import pytest
from nats.errors import NoRespondersError
from natscribe.mock import Mock
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind

from app.settings import Settings
from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, started
from tests.waiting import eventually

SEGMENTS = {"short-1": 3, "large-1": 60}  # of the mock's results; the second is too large for a message


@pytest.fixture(autouse=True)
async def _recording(mock: Mock, publisher: Publisher) -> None:
    await (await publisher.js.object_store("audio")).put("meeting.flac", b"not looked at")


async def test_the_follower_hears_what_it_missed(settings: Settings, publisher: Publisher) -> None:
    # Given results that came before the follower
    for task_id in SEGMENTS:
        await publisher.publish(task_id)
        await publisher.until(task_id, State.COMPLETED)
        assert await is_an_object(publisher, task_id) == task_id.startswith("large")
    # When it starts
    async with started(settings.nats_url, BIN / "python", "follower.py") as follower:
        # Then it hears of them, whole
        for task_id, count in SEGMENTS.items():
            assert f"{count} segments" in await line_with(follower, f"{task_id} transcription")


@pytest.mark.parametrize("example", ["faststream_client", "faststream_typed"])
async def test_a_faststream_service_has_recordings_transcribed(
    settings: Settings, publisher: Publisher, example: str
) -> None:
    # Given a service that speaks of recordings and transcripts, with schemas of its own or with those of the package
    heard = await publisher.nc.subscribe("transcripts.ready")
    # And a result that came before it, which is no transcript
    await publisher.publish("turns-1", kind=Kind.DIARIZATION)
    await publisher.until("turns-1", State.COMPLETED)

    async def told(recording: str) -> bool:
        body = json.dumps({"id": recording, "name": "meeting.flac", "user_id": 1}).encode()
        with suppress(NoRespondersError):
            return bool(await publisher.nc.request("recordings.uploaded", body, timeout=5))
        return False

    async with started(settings.nats_url, BIN / "faststream", "run", f"{example}:app") as service:
        assert json.loads((await heard.next_msg(WITHIN)).data)["task_id"] == "turns-1"
        for task_id, count in SEGMENTS.items():
            # When somebody tells it of a recording
            await eventually(partial(told, task_id))
            # Then it tells its own world of the transcript
            ready = json.loads((await heard.next_msg(WITHIN)).data)
            assert ready["task_id"] == task_id
            assert await is_an_object(publisher, task_id) == task_id.startswith("large")
            assert {line.partition(":")[0] for line in ready["lines"]} == {"SPEAKER_00", "SPEAKER_01"}
            assert len(ready["lines"]) == count
        # And nothing went wrong, not even with the result that waited when it started
        service.terminate()
        assert service.stdout is not None
        assert b"Traceback" not in await service.stdout.read()


async def test_a_faststream_application_reads_all_streams(settings: Settings, publisher: Publisher) -> None:
    # Given tasks that have ended before the application starts, one of them without a result
    for task_id in ("short-1", "error-audio_unreadable-1"):
        await publisher.publish(task_id)
        await publisher.until(task_id, State.COMPLETED if task_id == "short-1" else State.FAILED)
    streams = ("progress", "segments", "results", "dead_letters")
    before = [(await publisher.js.stream_info(f"transcription_{of}")).config for of in streams]
    # When it starts, then it prints each kind of message
    async with started(settings.nats_url, BIN / "faststream", "run", "faststream_events:app") as application:
        missing = {"short-1 completed 100 %", "short-1 0.", "short-1 result:", "error-audio_unreadable-1 failed:"}
        while missing:
            line = await line_with(application, "-1 ")
            missing = {said for said in missing if said not in line}
    # And it has changed no stream
    assert [(await publisher.js.stream_info(f"transcription_{of}")).config for of in streams] == before


async def is_an_object(publisher: Publisher, task_id: str) -> bool:
    """Whether the result is too large for a message."""
    return bool((await publisher.ask("tasks.result", task_id=task_id))["object"])
