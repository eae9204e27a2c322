import errno
import os
import tempfile
from hashlib import sha256
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.object_store import ObjectStore
from natscribe.schemas.errors import ErrorCode
from structlog.testing import capture_logs

from app.embedded import NatsServer, free_port
from app.errors import PermanentError, TaskError, TransientError
from app.recordings.recording import Recordings
from app.recordings.stores import recordings_of
from app.settings import Settings

CONTENT = bytes(range(256)) * 4000  # about 1 MB, several chunks


@pytest.fixture
async def bucket(js: JetStreamContext) -> ObjectStore:
    return await js.create_object_store("audio")


@pytest.fixture
def in_bucket(settings: Settings, nc: Client, scratch: Path) -> Recordings:
    return recordings_of(settings.model_copy(update={"audio_store": "nats://audio"}), nc)


@pytest.fixture
def in_folder(settings: Settings, nc: Client, recordings_folder: Path) -> Recordings:
    (recordings_folder / "call.flac").write_bytes(CONTENT)
    return recordings_of(settings, nc)


async def refusal(recordings: Recordings, audio_file_id: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        async with recordings.fetch(audio_file_id):
            pass
    return caught.value


async def test_a_recording_is_fetched_from_the_bucket_and_the_copy_removed(
    in_bucket: Recordings, bucket: ObjectStore, scratch: Path
) -> None:
    # Given a recording in the bucket, under a name that is no file name
    await bucket.put("../2026/Größe & Co.flac", CONTENT)

    # When it is fetched
    async with in_bucket.fetch("../2026/Größe & Co.flac") as recording:
        # Then it is here, with its size and hash
        assert recording.path.read_bytes() == CONTENT
        assert (recording.path.stat().st_size, recording.sha256) == (len(CONTENT), sha256(CONTENT).hexdigest())

    # And afterwards the copy is gone
    assert list(scratch.iterdir()) == []


async def test_the_copy_is_removed_when_the_work_fails(
    in_bucket: Recordings, bucket: ObjectStore, scratch: Path
) -> None:
    # Given a recording in the bucket
    await bucket.put("meeting.flac", CONTENT)

    # When what is done with it fails
    with pytest.raises(ZeroDivisionError):
        async with in_bucket.fetch("meeting.flac"):
            raise ZeroDivisionError

    # Then nothing is left
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("bucket")
async def test_a_recording_that_is_not_in_the_bucket(in_bucket: Recordings) -> None:
    # Given a bucket without the recording, when it is fetched, then the message tells where to put it
    error = await refusal(in_bucket, "nothing.flac")
    assert isinstance(error, PermanentError)
    assert error.detail.code is ErrorCode.AUDIO_NOT_FOUND
    assert "'audio'" in error.detail.message


async def test_a_recording_above_the_limit_is_not_even_fetched(
    settings: Settings, nc: Client, bucket: ObjectStore, scratch: Path
) -> None:
    # Given a recording with more bytes than allowed
    await bucket.put("meeting.flac", CONTENT)
    limited = settings.model_copy(update={"audio_store": "nats://audio", "audio_max_bytes": 1000})

    # When it is fetched, then the limit is named
    error = await refusal(recordings_of(limited, nc), "meeting.flac")
    assert error.detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert "AUDIO_MAX_BYTES" in error.detail.message
    assert list(scratch.iterdir()) == []


async def test_an_empty_recording_is_unreadable(in_bucket: Recordings, bucket: ObjectStore) -> None:
    # Given an empty recording, when it is fetched, then it is refused
    await bucket.put("meeting.flac", b"")
    assert (await refusal(in_bucket, "meeting.flac")).detail.code is ErrorCode.AUDIO_UNREADABLE


async def test_a_recording_that_was_changed_in_the_bucket_is_not_used(
    in_bucket: Recordings, bucket: ObjectStore, js: JetStreamContext, scratch: Path
) -> None:
    # Given a recording of which one byte is not what it was when it was put there
    info = await bucket.put("meeting.flac", CONTENT[:1000])
    await js.purge_stream("OBJ_audio", subject=f"$O.audio.C.{info.nuid}")
    await js.publish(f"$O.audio.C.{info.nuid}", b"\xff" + CONTENT[1:1000])

    # When it is fetched, then its hash gives that away
    assert isinstance(await refusal(in_bucket, "meeting.flac"), TransientError)
    assert list(scratch.iterdir()) == []


async def test_a_missing_bucket_may_come_back(in_bucket: Recordings) -> None:
    # Given no bucket, when a recording is fetched, then trying again can help
    error = await refusal(in_bucket, "meeting.flac")
    assert isinstance(error, TransientError)
    assert error.detail.code is ErrorCode.INTERNAL


async def test_nats_away_is_a_passing_error(settings: Settings, tmp_path: Path, scratch: Path) -> None:
    # Given a server that went away after it was connected to
    server = NatsServer(tmp_path / "nats", free_port())
    await server.start()
    client = await nats.connect(server.url, allow_reconnect=False)
    recordings = recordings_of(settings.model_copy(update={"audio_store": "nats://audio"}), client)
    await server.stop()

    # When a recording is fetched or deleted, then trying again can help
    error = await refusal(recordings, "meeting.flac")
    assert isinstance(error, TransientError)
    with pytest.raises(TransientError):
        await recordings.delete("meeting.flac")
    assert list(scratch.iterdir()) == []
    await client.close()


async def test_a_fetch_leaves_no_consumer_behind(
    in_bucket: Recordings, bucket: ObjectStore, js: JetStreamContext
) -> None:
    # Given a recording that was fetched
    await bucket.put("meeting.flac", CONTENT)
    async with in_bucket.fetch("meeting.flac"):
        pass

    # When the bucket is looked at, then nobody reads from it any more
    assert (await js.stream_info("OBJ_audio")).state.consumer_count == 0


@pytest.mark.parametrize("size", [100, len(CONTENT)], ids=["in the last buffer", "in the middle"])
async def test_a_full_temporary_folder_is_told_as_such(
    in_bucket: Recordings, bucket: ObjectStore, scratch: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    # Given a temporary file on a full disk: each write fails there, as it does to /dev/full
    await bucket.put("meeting.flac", CONTENT[:size])

    def mkstemp(prefix: str) -> tuple[int, str]:
        (scratch / f"{prefix}x").symlink_to("/dev/full")
        return os.open("/dev/full", os.O_WRONLY), str(scratch / f"{prefix}x")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)

    # When a recording is fetched
    with capture_logs() as lines:
        error = await refusal(in_bucket, "meeting.flac")

    # Then trying again can help, the message says how much room is needed, and the log says where
    assert isinstance(error, TransientError)
    assert f"no room for the {size} bytes" in error.detail.message
    assert str(scratch) not in error.detail.message
    (line,) = [line for line in lines if line["event"] == "temporary_folder_filled"]
    assert (line["folder"], line["needed_bytes"]) == (str(scratch), size)
    assert list(scratch.iterdir()) == []


@pytest.mark.usefixtures("scratch")
async def test_a_folder_without_room_for_another_file_is_told_as_such(
    in_bucket: Recordings, bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a temporary folder in which this user may make no more files
    def mkstemp(prefix: str) -> tuple[int, str]:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), prefix)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    await bucket.put("meeting.flac", CONTENT)

    # When a recording is fetched, then the message says so
    error = await refusal(in_bucket, "meeting.flac")
    assert isinstance(error, TransientError)
    assert "TMPDIR" in error.detail.message


async def test_deleting_removes_a_recording_once(in_bucket: Recordings, bucket: ObjectStore) -> None:
    # Given a recording in the bucket
    await bucket.put("meeting.flac", CONTENT)

    # When it is deleted, twice
    await in_bucket.delete("meeting.flac")
    await in_bucket.delete("meeting.flac")

    # Then it is gone
    assert (await refusal(in_bucket, "meeting.flac")).detail.code is ErrorCode.AUDIO_NOT_FOUND


async def test_a_recording_in_the_folder_is_used_where_it_lies(in_folder: Recordings, recordings_folder: Path) -> None:
    # Given a recording in a folder, when it is fetched
    async with in_folder.fetch("call.flac") as recording:
        # Then it is the file itself, with its size and hash
        assert recording.path == recordings_folder / "call.flac"
        assert (recording.path.stat().st_size, recording.sha256) == (len(CONTENT), sha256(CONTENT).hexdigest())

    # And it is still there afterwards, also when the task is deleted
    await in_folder.delete("call.flac")
    assert (recordings_folder / "call.flac").exists()
