"""The examples that run for long: services of others, which receive results."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind

from app.settings import Settings
from tests.faults import passing_on
from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, started
from tests.waiting import eventually

UPLOADS, TRANSCRIPTS = "uploads", "transcripts"  # streams of the FastStream services
TASKS, SEGMENTS = ("short-1", "large-1"), 3  # of each of the mock's results; the second is too large for a message


pytestmark = pytest.mark.usefixtures("meeting")


async def test_the_follower_reads_results_that_it_missed_and_erases_those_of_erased_tasks(
    settings: Settings, publisher: Publisher, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    # Given results that came before the follower
    for task_id in TASKS:
        await publisher.publish(task_id)
        await publisher.until(task_id, State.COMPLETED)
        assert await is_an_object(publisher, task_id) == task_id.startswith("large")
    # When it starts
    async with started(settings.nats_url, BIN / "python", "follower.py", kept) as follower:
        # Then it receives them, complete, and keeps them
        for task_id in TASKS:
            assert f"{SEGMENTS} segments" in await line_with(follower, f"{task_id} transcription")
    assert {file.stem for file in kept.iterdir()} == set(TASKS)
    # When one of them is erased while it is down, and its id is used again
    for task_id in ("large-1", "short-1"):
        await publisher.request("tasks.delete", task_id=task_id)
    await (await publisher.js.object_store("audio")).put("meeting.flac", b"the deletion has erased the recording")
    await publisher.publish("large-1")
    await publisher.until("large-1", State.COMPLETED)
    async with started(settings.nats_url, BIN / "python", "follower.py", kept) as follower:
        # Then it erases that one alone
        assert "request" in await line_with(follower, "short-1 erased")
    assert [file.stem for file in kept.iterdir()] == ["large-1"]


@pytest.mark.parametrize("example", ["faststream_client", "faststream_typed"])
async def test_a_faststream_service_has_recordings_transcribed(
    settings: Settings, publisher: Publisher, example: str
) -> None:
    # Given a service, with schemas of its own or with those of the package, and a result that is no transcript
    await publisher.publish("turns-1", kind=Kind.DIARIZATION)
    await publisher.until("turns-1", State.COMPLETED)
    async with service(settings.nats_url, example):
        await eventually(partial(holds, publisher, TRANSCRIPTS, 1), within=WITHIN)
        # When recordings are uploaded
        for task_id in TASKS:
            await upload(publisher, task_id)
        # Then their transcripts are published
        await eventually(partial(holds, publisher, TRANSCRIPTS, 3), within=WITHIN)
    for task_id in TASKS:
        lines = (await transcripts(publisher))[task_id]
        assert {line.partition(":")[0] for line in lines} == {"SPEAKER_00", "SPEAKER_01"}
        assert len(lines) == SEGMENTS
        assert await is_an_object(publisher, task_id) == task_id.startswith("large")


@pytest.mark.parametrize("example", ["faststream_client", "faststream_typed"])
async def test_a_faststream_service_loses_and_repeats_nothing(
    settings: Settings, publisher: Publisher, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_NATS_URL", settings.nats_url)
    # Given a service that has stopped, and then an upload and a result
    async with service(settings.nats_url, example):
        await eventually(partial(holds, publisher, UPLOADS, 0), within=WITHIN)
    await eventually(partial(nobody_fetches, publisher), within=WITHIN)
    await upload(publisher, "short-1")
    await publisher.publish("turns-1", kind=Kind.DIARIZATION)
    await publisher.until("turns-1", State.COMPLETED)
    # When it starts, and the NATS of Natscribe replies later than its own, then both messages are processed
    async with passing_on(settings.nats_url, after_s=1) as nats_url, service(nats_url, example):
        await eventually(partial(holds, publisher, TRANSCRIPTS, 2), within=WITHIN)
    assert {"short-1", "turns-1"} == set(await transcripts(publisher))
    # When the upload and all results are delivered again, with an invalid upload and a new one
    await eventually(partial(nobody_fetches, publisher), within=WITHIN)
    await upload(publisher, "short-1")
    await publisher.js.publish("recordings.uploaded", b"no JSON")
    await upload(publisher, "short-2")
    await publisher.js.delete_consumer("transcription_results", "transcripts")
    async with service(settings.nats_url, example, expected=b"no JSON"):
        await eventually(partial(holds, publisher, TRANSCRIPTS, 3), within=WITHIN)
        await eventually(partial(holds, publisher, UPLOADS, 1), within=WITHIN)
        await eventually(partial(has_read_all_results, publisher), within=WITHIN)
    # Then each transcript was published once, and the invalid message is stored
    assert {"short-1", "turns-1", "short-2"} == set(await transcripts(publisher))
    assert await holds(publisher, TRANSCRIPTS, 3)


async def test_a_faststream_application_reads_all_streams(settings: Settings, publisher: Publisher) -> None:
    # Given tasks that have ended before the application starts, one of them without a result
    for task_id in ("short-1", "error-expired-1"):
        await publisher.publish(task_id)
        await publisher.until(task_id, State.COMPLETED if task_id == "short-1" else State.FAILED)
    streams = ("progress", "segments", "results", "dead_letters")
    before = [(await publisher.js.stream_info(f"transcription_{of}")).config for of in streams]
    # When it starts, then it prints each kind of message
    async with started(settings.nats_url, BIN / "faststream", "run", "faststream_events:app") as application:
        missing = {
            "short-1 completed 100 %",
            "short-1 0.",
            "short-1 result:",
            "error-expired-1 failed",
            "error-expired-1 dead letter:",
        }
        while missing:
            line = await line_with(application, "-1 ")
            missing = {expected_line for expected_line in missing if expected_line not in line}
    # And it has changed no stream
    assert [(await publisher.js.stream_info(f"transcription_{of}")).config for of in streams] == before


async def test_an_insight_is_published_for_each_transcript(
    settings: Settings, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_NATS_URL", settings.nats_url)
    # Given a service that summarizes, and results of before its start
    for task_id, kind in (("turns-1", Kind.DIARIZATION), ("short-1", Kind.TRANSCRIPTION)):
        await publisher.publish(task_id, kind=kind)
        await publisher.until(task_id, State.COMPLETED)
    async with service(settings.nats_url, "insights"):
        # When it has read them, then it has published what it found in the transcript, once
        await eventually(partial(holds, publisher, "insights", 1), within=WITHIN)
    found = await publisher.js.get_last_msg("insights", "insights.short-1")
    result = json.loads((await publisher.js.get_last_msg("transcription_results", "results.short-1")).data or b"")
    summary = json.loads(found.data or b"")["summary"]
    assert summary
    assert {*summary} <= {segment["text"] for segment in result["segments"]}


@asynccontextmanager
async def service(nats_url: str, example: str, expected: bytes = b"") -> AsyncIterator[None]:
    """The example as a running service; it prints a traceback at most for the error that is expected."""
    async with started(nats_url, BIN / "faststream", "run", f"{example}:app") as process:
        await line_with(process, "app started successfully")  # SIGTERM during the start makes FastStream spin forever
        yield
        process.terminate()
        assert process.stdout is not None
        printed = await process.stdout.read()
    assert (b"Traceback" in printed) == bool(expected), printed.decode()
    assert expected in printed


async def upload(publisher: Publisher, task_id: str) -> None:
    """Report a recording to the service, which is not necessarily running."""
    recording = {"id": task_id, "name": "meeting.flac", "user_id": 1}
    await publisher.js.publish("recordings.uploaded", json.dumps(recording).encode())


async def holds(publisher: Publisher, stream: str, messages: int) -> bool:
    """Whether the stream exists and has this number of messages."""
    with suppress(NotFoundError):
        return (await publisher.js.stream_info(stream)).state.messages == messages
    return False


async def nobody_fetches(publisher: Publisher) -> bool:
    """Whether the requests of a stopped service have expired: the inboxes of these tests keep them open."""
    consumers = (UPLOADS, "transcription_results")
    return not any([(await publisher.js.consumer_info(stream, "transcripts")).num_waiting for stream in consumers])


async def has_read_all_results(publisher: Publisher) -> bool:
    """Whether the service has acknowledged all results."""
    consumer = await publisher.js.consumer_info("transcription_results", "transcripts")
    return not consumer.num_pending and not consumer.num_ack_pending


async def transcripts(publisher: Publisher) -> dict[str, list[str]]:
    """The lines of each transcript that the service has published."""
    state = (await publisher.js.stream_info(TRANSCRIPTS)).state
    messages = [await publisher.js.get_msg(TRANSCRIPTS, seq) for seq in range(state.first_seq, state.last_seq + 1)]
    ready = [json.loads(message.data or b"") for message in messages]
    return {transcript["task_id"]: transcript["lines"] for transcript in ready}


async def is_an_object(publisher: Publisher, task_id: str) -> bool:
    """Whether the result is too large for a message."""
    return bool((await publisher.request("tasks.result", task_id=task_id))["object"])
