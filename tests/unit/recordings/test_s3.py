"""Recordings in S3, over an in-memory store."""

from hashlib import sha256
from typing import Any

import pytest
from natscribe.schemas.errors import ErrorCode
from obstore.exceptions import GenericError, PermissionDeniedError

from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from app.storage.recordings import s3
from app.storage.recordings.s3 import S3
from tests.constants import Constants

EMPTY = GenericError("Server returned non-2xx status code: 416 Requested Range Not Satisfiable")
NO_BUCKET = FileNotFoundError("<Code>NoSuchBucket</Code>")


class Response:
    """What the store says of an object, and a part of it."""

    def __init__(self, meta: dict[str, Any], part: bytes) -> None:
        self.meta = meta
        self.part = part

    async def bytes_async(self) -> bytes:
        return self.part


class FakeStore:
    """A bucket with one object at most; a failure is raised by the request of its number, from 0."""

    def __init__(self) -> None:
        self.body = b""
        self.e_tag = "1"
        self.fails: dict[int, Exception] = {}
        self.requested_ranges: list[tuple[int, int]] = []
        self.deleted: list[str] = []
        self.error: Exception | None = None

    async def get_async(self, _: str, *, options: dict[str, Any]) -> Response:
        start, end = options["range"]
        failure = self.fails.get(len(self.requested_ranges))
        self.requested_ranges.append((start, end))
        if failure is not None:
            raise failure
        assert options.get("if_match", "1") == "1"
        return Response({"size": len(self.body), "e_tag": "1"}, self.body[start:end])

    async def head_async(self, _: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"e_tag": self.e_tag}

    async def delete_async(self, name: str) -> None:
        self.deleted.append(name)
        if self.error is not None:
            raise self.error


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    fake = FakeStore()
    monkeypatch.setattr(s3, "connect", lambda *_, **__: fake)
    return fake


@pytest.fixture
def recordings(store: FakeStore, constants: Constants) -> S3:
    constants(PIECE_BYTES=4)
    return S3(Settings(_env_file=None, audio_store="s3://calls", audio_max_bytes=10))


async def refused(recordings: S3, name: str = "a.flac") -> PermanentError | TransientError:
    with pytest.raises((PermanentError, TransientError)) as caught:
        await recordings.fetch(name).__aenter__()
    assert isinstance(caught.value, PermanentError | TransientError)
    return caught.value


@pytest.mark.parametrize(("size", "pieces"), [(1, 1), (4, 1), (5, 2), (8, 2), (10, 3)])
async def test_a_recording_comes_in_pieces(recordings: S3, store: FakeStore, size: int, pieces: int) -> None:
    store.body = bytes(range(size))
    async with recordings.fetch("a.flac") as recording:
        assert recording.path.read_bytes() == store.body
        assert recording.sha256 == sha256(store.body).hexdigest()
    assert store.requested_ranges == [(0, 4), *((start, min(start + 4, size)) for start in range(4, size, 4))]
    assert len(store.requested_ranges) == pieces


async def test_a_recording_of_a_call_takes_one_request(store: FakeStore) -> None:
    store.body = bytes(1024**2)
    async with S3(Settings(_env_file=None, audio_store="s3://calls")).fetch("a.flac") as recording:
        assert recording.path.read_bytes() == store.body
    assert len(store.requested_ranges) == 1


async def test_a_large_or_empty_recording_is_an_error(recordings: S3, store: FakeStore) -> None:
    store.body = bytes(11)
    assert (await refused(recordings)).detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert len(store.requested_ranges) == 1
    store.fails = {1: EMPTY}
    assert (await refused(recordings)).detail.code is ErrorCode.AUDIO_UNREADABLE


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (FileNotFoundError("<Code>NoSuchKey</Code>"), ErrorCode.AUDIO_NOT_FOUND, "upload it"),
        (NO_BUCKET, ErrorCode.INTERNAL, "bucket in S3 is missing"),
        (PermissionDeniedError("no"), ErrorCode.INTERNAL, "refuses the service"),
        (OSError(), ErrorCode.INTERNAL, "could not be reached"),
        (GenericError("http://169.254.169.254/latest"), ErrorCode.INTERNAL, "no credentials"),
    ],
)
async def test_an_error_of_s3_has_its_reason(
    recordings: S3, store: FakeStore, error: Exception, code: ErrorCode, words: str
) -> None:
    store.fails = {0: error}
    raised = await refused(recordings)
    assert raised.detail.code is code
    assert words in raised.detail.message


async def test_a_name_outside_of_the_prefix_is_not_requested(recordings: S3, store: FakeStore) -> None:
    assert (await refused(recordings, "../a")).detail.code is ErrorCode.AUDIO_NOT_FOUND
    await recordings.delete("../a")
    assert (store.requested_ranges, store.deleted) == ([], [])


@pytest.mark.parametrize(
    ("e_tag", "gone", "code"),
    [
        ("2", None, ErrorCode.AUDIO_UNREADABLE),  # another recording is there now
        ("1", None, ErrorCode.INTERNAL),
        ("2", OSError(), ErrorCode.INTERNAL),  # unknown cause
    ],
)
async def test_a_broken_download_has_its_reason(
    recordings: S3, store: FakeStore, e_tag: str, gone: Exception | None, code: ErrorCode
) -> None:
    store.body, store.fails, store.e_tag, store.error = bytes(10), {1: GenericError("lost")}, e_tag, gone
    assert (await refused(recordings)).detail.code is code


@pytest.mark.parametrize(
    ("error", "is_reported"), [(None, False), (FileNotFoundError(), False), (NO_BUCKET, True), (OSError(), True)]
)
async def test_a_deletion_can_be_repeated(
    recordings: S3, store: FakeStore, error: Exception | None, is_reported: bool
) -> None:
    store.error = error
    if is_reported:
        with pytest.raises(TransientError):
            await recordings.delete("a.flac")
    else:
        await recordings.delete("a.flac")
    assert store.deleted == ["a.flac"]
