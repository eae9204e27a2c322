"""Recordings in S3: a real server, and a proxy before it that disturbs its responses."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from obstore.store import S3Store
from structlog.testing import capture_logs

from app.runtime.errors import PermanentError, TaskError, TransientError
from app.settings import Settings
from app.storage.recordings.recording import REPLACED, RecordingStore
from app.storage.recordings.s3 import S3
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.faults import Fault, Proxy, disturbed, served_with, status
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.reminders import let_time_pass
from tests.s3_server import S3Server, bucket_of, in_s3
from tests.waiting import eventually

CONTENT = bytes(range(256)) * 4 * 1024  # 1 MiB
HALF = len(CONTENT) // 2
NAME = "2026/meeting.flac"

pytestmark = pytest.mark.xdist_group("s3")  # one server for all of them


@pytest.fixture
async def bucket(s3_server: S3Server) -> S3Store:
    """The bucket as its owner sees it, with one recording."""
    store = bucket_of(s3_server)
    await store.put_async(f"calls/{NAME}", CONTENT)
    return store


@pytest.fixture
async def proxy(s3_server: S3Server, bucket: S3Store) -> AsyncIterator[Proxy]:
    assert s3_server.port is not None
    async with disturbed(s3_server.port) as disturbed_proxy:
        yield disturbed_proxy


@pytest.fixture
def hasty(constants: Constants) -> None:
    """A service that tries three times more, and then gives up."""
    constants(MAX_RETRIES=3)


@pytest.fixture
def impatient(constants: Constants) -> None:
    """A service that does not wait long for the next byte."""
    constants(STALLED_S=0.5)


@pytest.fixture
def recordings(hasty: None, proxy: Proxy, scratch: Path) -> RecordingStore:
    return S3(in_s3(Settings(_env_file=None), proxy.url))


async def fetched(recordings: RecordingStore, name: str = NAME) -> bytes:
    async with recordings.fetch(name) as recording:
        content = recording.path.read_bytes()
        assert recording.sha256 == sha256(content).hexdigest()
        return content


async def refusal(recordings: RecordingStore, name: str = NAME) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await fetched(recordings, name)
    return caught.value


@pytest.mark.parametrize("name", [NAME, "Größe & Co.flac", "%2e%2e/call.flac", "a+b c?d#e=f.flac", "...", "~.flac"])
async def test_a_recording_is_fetched_and_the_copy_removed(
    recordings: RecordingStore, bucket: S3Store, scratch: Path, name: str
) -> None:
    # Given a recording in S3
    await bucket.put_async(f"calls/{name}", CONTENT)
    # When it is fetched
    # Then it is whole, and afterwards the copy is gone
    assert await fetched(recordings, name) == CONTENT
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["%2e%2e/outside.flac", "..%2foutside.flac", "%00", "?versions"])
async def test_an_encoded_name_is_only_a_name(
    recordings: RecordingStore, bucket: S3Store, proxy: Proxy, name: str
) -> None:
    # Given a recording outside of the prefix
    await bucket.put_async("outside.flac", b"secret")
    # When a task names it, encoded once more
    error = await refusal(recordings, name)
    # Then exactly this name below the prefix is requested from S3
    assert error.detail.code is ErrorCode.AUDIO_NOT_FOUND
    assert [line.split()[0] for line in proxy.requests] == ["GET"]
    path = urlsplit(proxy.requests[0].split()[1])
    assert path.path.startswith("/recordings/calls/")
    assert path.query == ""


async def test_an_empty_recording_is_unreadable(recordings: RecordingStore, bucket: S3Store) -> None:
    await bucket.put_async("calls/empty.flac", b"")
    assert (await refusal(recordings, "empty.flac")).detail.code is ErrorCode.AUDIO_UNREADABLE


async def test_deleting_removes_a_recording_once(recordings: RecordingStore, bucket: S3Store) -> None:
    # Given a recording, and one with the same name outside of the prefix
    await bucket.put_async(NAME, CONTENT)
    # When it is deleted, twice
    await recordings.delete(NAME)
    await recordings.delete(NAME)
    # Then it is gone, and the other one is not
    assert (await refusal(recordings)).detail.code is ErrorCode.AUDIO_NOT_FOUND
    assert (await bucket.head_async(NAME))["size"] == len(CONTENT)


DENIED = "<Error><Code>AccessDenied</Code></Error>"
SLOW_DOWN = "<Error><Code>SlowDown</Code></Error>"
NOTHING = Fault(reply=b"")


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([NOTHING], id="closed before the answer"),
        pytest.param([Fault()], id="reset after the head"),
        pytest.param([Fault(after=HALF)], id="reset in the middle"),
        pytest.param([Fault(after=1), Fault(after=HALF), Fault(after=HALF // 2)], id="reset three times"),
        pytest.param([Fault(after=HALF, ends="closed")], id="closed in the middle"),
        pytest.param([Fault(after=HALF), status(503, SLOW_DOWN)], id="reset, then 503"),
        pytest.param([status(500)], id="500"),
        pytest.param([status(502), status(504)], id="502 and 504"),
        pytest.param([status(503, SLOW_DOWN)] * 3, id="503 three times"),
        pytest.param([status(429)], id="429"),
    ],
)
async def test_a_passing_fault_is_retried(recordings: RecordingStore, proxy: Proxy, faults: list[Fault]) -> None:
    # Given S3 with a fault that passes
    proxy.faults = list(faults)
    # When a recording is fetched
    # Then it is whole
    assert await fetched(recordings) == CONTENT
    # And the fault was met
    assert len(proxy.requests) == len(faults) + 1


@pytest.mark.parametrize(
    ("fault", "error", "code", "words"),
    [
        (NOTHING, TransientError, ErrorCode.INTERNAL, "tries again"),
        (Fault(after=1), TransientError, ErrorCode.INTERNAL, "tries again"),
        (status(500), TransientError, ErrorCode.INTERNAL, "tries again"),
        (status(503, SLOW_DOWN), TransientError, ErrorCode.INTERNAL, "tries again"),
        (status(400, "<Error><Code>ExpiredToken</Code></Error>"), TransientError, ErrorCode.INTERNAL, "tries again"),
        (status(301), TransientError, ErrorCode.INTERNAL, "tries again"),
        (status(403, DENIED), TransientError, ErrorCode.INTERNAL, "let the operator check its credentials"),
        (status(401, DENIED), TransientError, ErrorCode.INTERNAL, "let the operator check its credentials"),
        (status(404, "<Error><Code>NoSuchBucket</Code></Error>"), TransientError, ErrorCode.INTERNAL, "AUDIO_STORE"),
        (status(404, "<Error><Code>NoSuchKey</Code></Error>"), PermanentError, ErrorCode.AUDIO_NOT_FOUND, "upload it"),
        (Fault(reply=b"this is no HTTP\r\n\r\n"), TransientError, ErrorCode.INTERNAL, "tries again"),
    ],
)
async def test_a_fault_that_stays_is_named(
    recordings: RecordingStore,
    proxy: Proxy,
    scratch: Path,
    fault: Fault,
    error: type[TaskError],
    code: ErrorCode,
    words: str,
) -> None:
    # Given S3 with a fault that stays
    proxy.always = fault
    # When a recording is fetched
    with capture_logs() as lines:
        raised = await refusal(recordings)
    # Then the error of the task says which one, and nothing is left behind
    assert type(raised) is error
    assert raised.detail.code is code
    assert words in raised.detail.message
    assert list(scratch.iterdir()) == []
    # And what is logged has no name of a recording
    assert "meeting" not in str(lines)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("after", [0, HALF])
async def test_a_stall_that_passes_is_retried(recordings: RecordingStore, proxy: Proxy, after: int) -> None:
    # Given S3 that sends nothing more, once
    proxy.faults = [Fault(after=after, ends="stalled")]
    # When a recording is fetched, then it is whole
    assert await fetched(recordings) == CONTENT
    assert len(proxy.requests) > 1


@pytest.mark.usefixtures("impatient")
async def test_a_stall_that_stays_is_named(recordings: RecordingStore, proxy: Proxy, scratch: Path) -> None:
    # Given S3 that never sends more than the head of its response
    proxy.always = Fault(ends="stalled")
    # When a recording is fetched, then it is tried again later
    assert isinstance(await refusal(recordings), TransientError)
    assert list(scratch.iterdir()) == []


async def test_a_missing_key_is_named(hasty: None, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service without a key, on a machine that gives it none
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://169.254.169.254:{proxy.port}")
    settings = in_s3(Settings(_env_file=None), proxy.url)
    settings = settings.model_copy(update={"aws_access_key_id": None, "aws_secret_access_key": None})
    # When a recording is fetched, then the error says which settings are missing
    error = await refusal(S3(settings))
    assert "AWS_ACCESS_KEY_ID" in error.detail.message


async def test_each_piece_of_a_recording_survives_faults(
    recordings: RecordingStore, proxy: Proxy, constants: Constants
) -> None:
    # Given a recording of many pieces, the last one short, and faults in some of them
    constants(PIECE_BYTES=100_000)
    # (each fault hits any piece, the last one too, of which 48,576 bytes are left)
    proxy.faults = [Fault(after=1), Fault(after=40_000), NOTHING, status(503, SLOW_DOWN), Fault(after=40_000)]
    # When it is fetched
    # Then it is whole
    assert await fetched(recordings) == CONTENT
    # And each fault cost one request more
    assert len(proxy.requests) == 11 + 5


@pytest.mark.parametrize("then", ["replaced", "deleted"])
async def test_a_recording_is_not_mixed_from_pieces_of_two(
    recordings: RecordingStore,
    bucket: S3Store,
    proxy: Proxy,
    scratch: Path,
    constants: Constants,
    then: str,
) -> None:
    # Given a recording of many pieces, which is another one of the same size, or gone, after some of them
    constants(PIECE_BYTES=100_000)

    async def change() -> None:
        if then == "replaced":
            await bucket.put_async(f"calls/{NAME}", CONTENT[::-1])
        else:
            await bucket.delete_async(f"calls/{NAME}")

    proxy.faults = [None] * 4 + [Fault(after=1, ends="held", then=change)]
    proxy.released.set()  # the delayed request continues at once
    # When the recording is fetched
    error = await refusal(recordings)
    # Then no mixture of both is used
    if then == "replaced":
        assert isinstance(error, PermanentError)
        assert error.detail.message == REPLACED
    else:
        assert isinstance(error, TransientError)
    assert list(scratch.iterdir()) == []


async def test_a_recording_goes_when_the_time_of_its_task_is_over(
    settings: Settings,
    start_worker: StartWorker,
    publisher: Publisher,
    proxy: Proxy,
    bucket: S3Store,
    constants: Constants,
) -> None:
    constants(ERASE_AGAIN_AFTER_S=0.2)
    # Given a service whose recordings are in S3, and a task that has ended, with a retention of one minute
    there = in_s3(settings, proxy.url)
    for name in ("audio_store", "aws_endpoint_url", "aws_access_key_id", "aws_secret_access_key"):
        setattr(settings, name, getattr(there, name))
    async with start_worker(FakeEngine()) as worker:
        await publisher.reaching(State.COMPLETED, "t1", audio_file_id=NAME, keep_seconds=60)
        assert not await gone(bucket, f"calls/{NAME}")
        # When the minute is over while S3 refuses the service
        proxy.faults = [status(403, DENIED)]
        await let_time_pass(publisher.js, "t1")

        # Then it is erased when S3 lets it
        await eventually(lambda: gone(bucket, f"calls/{NAME}"))
        assert proxy.faults == []

        # And the rest of the task goes with it
        async def is_erased() -> bool:
            return await worker.container.log.last("t1") is None

        await eventually(is_erased)


async def gone(bucket: S3Store, name: str) -> bool:
    try:
        await bucket.head_async(name)
    except FileNotFoundError:
        return True
    return False


@pytest.mark.parametrize("trusted", [True, False])
async def test_a_certificate_of_ones_own_is_trusted_by_its_authority(
    hasty: None,
    s3_server: S3Server,
    bucket: S3Store,
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
    trusted: bool,
) -> None:
    # Given S3 behind a certificate that an authority of one's own has signed
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.crt"))
    assert s3_server.port is not None
    async with disturbed(s3_server.port, served_with(certificates)) as proxy:
        recordings = S3(in_s3(Settings(_env_file=None), f"https://127.0.0.1:{proxy.port}"))
        # When a recording is fetched, then it is whole if the service trusts that authority
        if trusted:
            assert await fetched(recordings) == CONTENT
        # And nothing else is requested
        else:
            assert isinstance(await refusal(recordings), TransientError)
            assert proxy.requests == []


@pytest.mark.parametrize("size", [100, len(CONTENT)], ids=["in the last buffer", "in the middle"])
async def test_a_full_disk_is_named(
    recordings: RecordingStore, bucket: S3Store, full_disk: Path, proxy: Proxy, size: int
) -> None:
    # Given a temporary file on a full disk
    await bucket.put_async("calls/call.flac", CONTENT[:size])
    # When a recording is fetched
    error = await refusal(recordings, "call.flac")
    # Then the error says how much room is needed, and S3 received one request
    assert isinstance(error, TransientError)
    assert f"no room for the {size} bytes" in error.detail.message
    assert len(proxy.requests) == 1
    assert list(full_disk.iterdir()) == []
