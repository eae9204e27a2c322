"""The client and the command with recordings in S3."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.client import Client, RecordingError
from natscribe.client.errors import UnreachableError
from natscribe.client.s3 import S3
from natscribe.schemas.progress import ProgressEvent, State
from obstore.store import S3Store

from app.main import Worker
from app.settings import Settings
from tests.faults import Fault, Proxy, disturbed, status
from tests.s3_server import S3Server, bucket_of, in_s3
from tests.terminal import Terminal
from tests.waiting import eventually

CONTENT = os.urandom(1024) * 17 * 1024  # 17 MiB, four parts

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture
async def proxy(s3_server: S3Server) -> AsyncIterator[Proxy]:
    assert s3_server.port is not None
    async with disturbed(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def settings(settings: Settings, proxy: Proxy) -> Settings:
    """As for all tests, but recordings are in S3."""
    return in_s3(settings, proxy.url)


@pytest.fixture
def bucket(s3_server: S3Server) -> S3Store:
    """The bucket, without the proxy."""
    return bucket_of(s3_server)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "team meeting.flac"
    path.write_bytes(CONTENT)
    return path


def uploads(proxy: Proxy) -> list[str]:
    return [line for line in proxy.requests if line.startswith(("PUT", "POST"))]


def removed(proxy: Proxy) -> bool:
    """Whether S3 has received a request to abort an upload; a part that was in flight may arrive later."""
    return any(re.match(r"DELETE .*\?uploadId=", line) for line in proxy.requests)


async def is_stored(bucket: S3Store, name: str) -> bool:
    try:
        await bucket.head_async(f"calls/{name}")
    except FileNotFoundError:
        return False
    return True


async def stored(bucket: S3Store, name: str) -> bytes:
    return (await (await bucket.get_async(f"calls/{name}")).bytes_async()).to_bytes()


async def test_a_recording_is_uploaded_once(settings: Settings, recording: Path, bucket: S3Store, proxy: Proxy) -> None:
    # Given a recording that was uploaded
    sent: list[int] = []
    store = S3(settings, lambda _, count: sent.append(count))
    assert await store.upload(recording, "t1-meeting.flac") is True
    assert sent[-1] == len(CONTENT)
    assert await stored(bucket, "t1-meeting.flac") == CONTENT
    # When it is uploaded again
    proxy.requests.clear()
    assert await store.upload(recording, "t1-meeting.flac") is False
    # Then nothing is sent
    assert uploads(proxy) == []
    assert await store.differs(recording, "t1-meeting.flac") is False
    # And another one replaces it, but is not the first
    recording.write_bytes(b"another one")
    assert await store.differs(recording, "t1-meeting.flac") is True
    assert await store.upload(recording, "t1-meeting.flac") is False
    assert await stored(bucket, "t1-meeting.flac") == b"another one"


async def test_a_recording_is_deleted(settings: Settings, recording: Path) -> None:
    # Given a recording that was uploaded
    store = S3(settings)
    await store.upload(recording, "t2-meeting.flac")
    # When it is deleted, twice
    await store.delete("t2-meeting.flac")
    await store.delete("t2-meeting.flac")
    # Then it is gone
    assert await store.differs(recording, "t2-meeting.flac") is False


@pytest.mark.parametrize("faults", [[status(503)], [Fault(reply=b"")], [Fault()], [status(500), status(503)]], ids=str)
async def test_a_part_that_fails_is_sent_again(
    settings: Settings, recording: Path, bucket: S3Store, proxy: Proxy, faults: list[Fault]
) -> None:
    # Given S3 that fails once for a part
    passes = [None, None]  # the lookup, and the beginning of the upload
    proxy.faults = [*passes, *faults]
    # When a recording is uploaded, then it is complete
    await S3(settings).upload(recording, "t3-meeting.flac")
    assert await stored(bucket, "t3-meeting.flac") == CONTENT


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (status(403), "refuses this user"),
        (status(404), "no such bucket"),
        (status(400), "does not answer"),
    ],
)
async def test_a_failed_upload_is_explained_and_leaves_no_object(
    settings: Settings, recording: Path, bucket: S3Store, proxy: Proxy, fault: Fault, words: str
) -> None:
    # Given S3 that refuses a part
    proxy.faults = [None, None, fault]
    # When a recording is uploaded, then the error has the next step
    with pytest.raises(RecordingError, match=words):
        await S3(settings).upload(recording, "t4-meeting.flac")
    # And there is no object, and its parts are removed
    assert not await is_stored(bucket, "t4-meeting.flac")
    assert removed(proxy)


async def test_s3_that_refuses_the_user_is_explained(settings: Settings, recording: Path, proxy: Proxy) -> None:
    proxy.always = status(403)
    with pytest.raises(UnreachableError, match="AWS_ACCESS_KEY_ID"):
        await S3(settings).upload(recording, "t5-meeting.flac")


async def test_a_cancelled_upload_leaves_no_object(
    settings: Settings, recording: Path, bucket: S3Store, proxy: Proxy
) -> None:
    # Given an upload of many parts, of which some are stored and one never ends
    proxy.faults = [*[None] * 4, Fault(ends="stalled")]
    recording.write_bytes(CONTENT * 4)
    uploading = asyncio.create_task(S3(settings).upload(recording, "t6-meeting.flac"))
    await eventually(lambda: not proxy.faults)
    # When it is cancelled
    uploading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    # Then there is no object, and its parts are removed
    assert not await is_stored(bucket, "t6-meeting.flac")
    assert removed(proxy)


async def test_an_upload_that_is_cancelled_too_late_is_deleted(
    settings: Settings, recording: Path, bucket: S3Store, proxy: Proxy
) -> None:
    # Given an upload whose parts were all sent, and whose end is not acknowledged yet
    recording.write_bytes(b"short")
    stored = asyncio.Event()

    async def note() -> None:
        stored.set()

    proxy.faults = [None, None, None, Fault(then=note, ends="held")]  # the end is the fourth request
    uploading = asyncio.create_task(S3(settings).upload(recording, "t8-meeting.flac"))
    await asyncio.wait_for(stored.wait(), 10)
    # When it is cancelled, and then acknowledged
    uploading.cancel()
    await asyncio.sleep(0)
    proxy.released.set()
    with pytest.raises(asyncio.CancelledError):
        await uploading
    # Then the recording, which no task needs, is deleted
    assert not await is_stored(bucket, "t8-meeting.flac")


async def test_from_file_to_result_to_deletion(
    settings: Settings, worker: Worker, recording: Path, bucket: S3Store
) -> None:
    async with Client(settings) as client:
        # When a file is transcribed
        task_id = await client.create_transcription_task(recording, task_id="s3-task")
        events = [event async for event in client.follow(task_id) if isinstance(event, ProgressEvent)]
        assert events[-1].state is State.COMPLETED
        # Then its recording is in S3, until the task is deleted
        assert await stored(bucket, "s3-task-team meeting.flac") == CONTENT
        await client.delete(task_id)
        assert not await is_stored(bucket, "s3-task-team meeting.flac")


@pytest.fixture
def terminal(recording: Path, settings: Settings) -> Terminal:
    assert settings.aws_secret_access_key is not None
    return Terminal(
        recording.parent,
        settings,
        AWS_ENDPOINT_URL=settings.aws_endpoint_url or "",
        AWS_ACCESS_KEY_ID=settings.aws_access_key_id or "",
        AWS_SECRET_ACCESS_KEY=settings.aws_secret_access_key.get_secret_value(),
    )


async def test_ctrl_c_during_an_upload_leaves_no_object(
    terminal: Terminal, recording: Path, bucket: S3Store, proxy: Proxy
) -> None:
    # Given a command that uploads many parts, of which one never ends
    proxy.faults = [*[None] * 4, Fault(ends="stalled")]
    recording.write_bytes(CONTENT * 4)
    process = await terminal.start("transcribe", "team meeting.flac", "--task-id", "t7")
    await eventually(lambda: not proxy.faults)
    # When it is interrupted
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    # Then it ends without a traceback; there is no object, and its parts are removed
    assert (process.returncode, b"Traceback" in err) == (INTERRUPTED, False), err.decode()
    assert not await is_stored(bucket, "t7-team meeting.flac")
    assert removed(proxy)
