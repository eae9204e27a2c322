import errno
import os
import subprocess
import sys
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
from app.temporary import sweep

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


@pytest.mark.parametrize(
    "audio_file_id",
    [
        "../secret.flac",
        "sub/../../secret.flac",
        "{outside}",
        "link.flac",
        "linked/secret.flac",
        "sub",
        ".",
        "pipe",
        "no.flac",
    ],
)
async def test_nothing_outside_of_the_folder_and_nothing_but_files(
    in_folder: Recordings, recordings_folder: Path, audio_file_id: str
) -> None:
    # Given a file outside of the folder, links to it, a folder and a pipe
    outside = recordings_folder.parent / "secret.flac"
    outside.write_bytes(CONTENT)
    (recordings_folder / "sub").mkdir()
    (recordings_folder / "link.flac").symlink_to(outside)
    (recordings_folder / "linked").symlink_to(outside.parent)
    os.mkfifo(recordings_folder / "pipe")

    # When a task names them
    error = await refusal(in_folder, audio_file_id.format(outside=outside))

    # Then they are not found, and the message shows no path of the server
    assert error.detail.code is ErrorCode.AUDIO_NOT_FOUND
    assert str(recordings_folder) not in error.detail.message


async def test_limits_hold_in_the_folder_too(settings: Settings, nc: Client, recordings_folder: Path) -> None:
    # Given an empty recording and one with more bytes than allowed
    (recordings_folder / "empty.flac").touch()
    (recordings_folder / "large.flac").write_bytes(CONTENT)
    recordings = recordings_of(settings.model_copy(update={"audio_max_bytes": 1000}), nc)

    # When they are fetched, then they are refused
    assert (await refusal(recordings, "empty.flac")).detail.code is ErrorCode.AUDIO_UNREADABLE
    assert (await refusal(recordings, "large.flac")).detail.code is ErrorCode.AUDIO_TOO_LARGE


def test_what_a_killed_worker_has_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given recordings of a worker that lives, of one that does not, and what is none of ours
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    ours, left, other = (tmp_path / name for name in (f"natscribe-{os.getpid()}-a", f"natscribe-{ended.pid}-b", "x-1"))
    for path in (ours, left, other):
        path.write_bytes(b"x")
    # When the next worker starts
    sweep()
    # Then only the dead one's is gone
    assert sorted(tmp_path.iterdir()) == sorted([ours, other])


def test_what_another_user_has_left_stops_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given what dead workers have left, some of it another user's, which may not be removed
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    anothers, ours = (tmp_path / f"natscribe-{ended.pid}-{name}" for name in ("anothers", "ours"))
    for path in (anothers, ours):
        path.touch()
    unlink = Path.unlink

    def in_a_sticky_folder(path: Path, *, missing_ok: bool = False) -> None:
        if path == anothers:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", in_a_sticky_folder)
    # When the next worker starts
    sweep()
    # Then it does, and the rest is gone
    assert list(tmp_path.iterdir()) == [anothers]


@pytest.mark.parametrize("name", ["natscribe-99999999999999999999-x", "natscribe-4294967296-x"])
def test_what_is_named_after_no_process_stops_no_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Given what somebody named like our files, with a number that no process can have
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / name).touch()
    # When a worker starts, then it does
    sweep()
    assert not list(tmp_path.iterdir())


async def test_a_folder_that_is_not_mounted_is_nobodys_recording(settings: Settings, nc: Client) -> None:
    # Given a store that is not there, which a publisher can do nothing about
    recordings = recordings_of(settings.model_copy(update={"audio_store": "file:///nowhere"}), nc)
    # When a recording is looked for, then it is tried again: it may be there when the folder is
    with pytest.raises(TransientError, match="AUDIO_STORE"):
        async with recordings.fetch("meeting.flac"):
            pass
