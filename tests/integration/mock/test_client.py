"""The client with a real server, and the mock instead of the service."""

import asyncio
import base64
import hashlib
from pathlib import Path

import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from natscribe.client import Client, OptionError, TaskIdTakenError
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority

from app.settings import Settings
from tests.integration.seen_by_clients import ended, is_in_state, recordings_in
from tests.waiting import eventually

CONTENT = bytes(range(256)) * 8192


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "team meeting.flac"
    path.write_bytes(CONTENT)
    return path


async def test_each_task_has_a_recording_of_its_own(client: Client, recording: Path, js: JetStreamContext) -> None:
    # Given two tasks on one file
    first = await client.create_transcription_task(recording)
    second = await client.create_diarization_task(recording, priority=Priority.LOW)
    await ended(client, first)
    await ended(client, second)
    # When one is deleted
    await client.delete(first)
    # Then the other one's recording is still there, and its content is the file's
    (stored,) = await (await js.object_store("audio")).list(ignore_deletes=True)
    digest = base64.urlsafe_b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert (stored.name, stored.digest) == (f"{second}-team meeting.flac", f"SHA-256={digest}")


async def test_a_known_id_takes_no_other_recording(
    client: Client, recording: Path, tmp_path: Path, js: JetStreamContext
) -> None:
    # Given a task with an id of the caller's
    await client.create_transcription_task(recording, task_id="mine")
    await ended(client, "mine")
    # When the same request is repeated
    # Then that is safe
    assert await client.create_transcription_task(recording, task_id="mine") == "mine"
    # But another file, whatever its name, is refused, and nothing is left of it
    (tmp_path / "other.flac").write_bytes(b"other")
    with pytest.raises(TaskIdTakenError, match="differs in recording"):
        await client.create_transcription_task(tmp_path / "other.flac", task_id="mine")
    recording.write_bytes(b"replaced")
    with pytest.raises(TaskIdTakenError, match="differs in recording"):
        await client.create_transcription_task(recording, task_id="mine")
    with pytest.raises(TaskIdTakenError, match="differs in kind"):
        await client.create_diarization_task(recording, task_id="mine")
    (stored,) = await (await js.object_store("audio")).list(ignore_deletes=True)
    assert stored.size == len(CONTENT)


async def test_a_recording_whose_upload_was_half_lost_is_uploaded_again(
    client: Client, recording: Path, js: JetStreamContext
) -> None:
    # Given an upload whose metadata was stored but not acknowledged, so that nats-py has removed its chunks
    bucket = await js.object_store("audio")
    stored = await bucket.put("mine-team meeting.flac", CONTENT)
    await js.purge_stream("OBJ_audio", subject=f"$O.audio.C.{stored.nuid}")
    # When the task is created
    await client.create_transcription_task(recording, task_id="mine")
    # Then its recording is whole
    async with asyncio.timeout(10):
        assert (await bucket.get("mine-team meeting.flac")).data == CONTENT


async def test_wrong_options_are_refused_before_an_upload(
    client: Client, recording: Path, js: JetStreamContext
) -> None:
    # Given options that cannot be
    # When a task is made of them
    with pytest.raises(ValueError, match="min_speakers must not be above"):
        await client.create_transcription_task(recording, min_speakers=3, max_speakers=2)
    with pytest.raises(OptionError, match=r"^vocabulary\.0: String should have at most 60 characters$"):
        await client.create_transcription_task(recording, vocabulary=["x" * 61])
    with pytest.raises(OptionError, match=r"^user_id: use an integer of 64 bits, or 1 to 64 characters"):
        await client.create_diarization_task(recording, user_id="")
    with pytest.raises(OptionError, match="limit"):
        await client.tasks(limit=201)
    # Then nothing was uploaded
    assert await recordings_in(js) == []


async def test_a_task_is_followed_before_it_is_known(client: Client, recording: Path) -> None:
    # Given a client that follows a task that does not exist yet
    following = asyncio.create_task(ended(client, "later"))
    await asyncio.sleep(0)
    # When it is published
    await client.create_transcription_task(recording, task_id="later")
    # Then its end is seen
    assert (await following).state is State.COMPLETED


async def test_following_outlives_a_lost_connection(client: Client, settings: Settings, recording: Path) -> None:
    # Given a task that is followed
    async with Client(settings) as other:
        task_id = await client.create_transcription_task(recording, task_id="slow-1")
        following = asyncio.create_task(ended(client, task_id))
        await eventually(lambda: is_in_state(client, task_id, State.RUNNING))
        # When the connection is lost and the task ends in the meantime
        lost: Nats = client._connection  # noqa: SLF001 -- nothing else can break it
        await lost.force_reconnect()
        await other.cancel(task_id)
        # Then its end is seen
        assert (await following).state is State.CANCELLED
