"""Objects: recordings and large results in buckets, whole or not at all."""

import asyncio
import errno
import io
import json
import os
import tempfile
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ObjectInfo
from nats.js.errors import BadRequestError, DigestMismatchError, NotFoundError
from natscribe.jetstream.streams import RESULTS_BUCKET
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import ResultFormat, ResultRequest
from natscribe.schemas.transcription import TranscriptionResult
from structlog.testing import capture_logs

from app.requests.result_writer import ResultWriter
from app.runtime.errors import FencedError, PermanentError, RequestError, TransientError
from app.settings import Settings
from app.storage.jetstream import objects
from app.storage.recordings.recording import RecordingStore
from app.storage.recordings.stores import make_recording_store
from app.tasks.task_log.record import Record, TaskMessageId
from app.tasks.task_log.results import ResultStore
from tests.constants import Constants
from tests.fakes import messages
from tests.fakes.engine import segment
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts
from tests.unit.task_log.test_results import LAST

BUCKET = RESULTS_BUCKET
STREAM = objects.stream_of(BUCKET)
SIZES = [1, objects.CHUNK_BYTES, objects.CHUNK_BYTES + 1, 9 * objects.CHUNK_BYTES]
NOW = datetime(2026, 11, 26, tzinfo=UTC)
FIRST, LATER = TaskMessageId(NOW, 1), TaskMessageId(NOW + timedelta(minutes=1), 2)


async def keep(nats: InMemoryNats, name: str, body: bytes) -> ObjectInfo:
    return await objects.put_if_absent(nats.jetstream(), BUCKET, name, io.BytesIO(body), description="")


async def read(nats: InMemoryNats, info: ObjectInfo) -> bytes:
    body = bytearray()
    assert await objects.download(nats.client, BUCKET, info, body.extend, stalled_s=0.0) == sha256(body).digest()
    return bytes(body)


@pytest.mark.parametrize("size", [0, *SIZES])
async def test_a_stored_object_is_read_again(nats: InMemoryNats, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    info = await keep(nats, "a", body)
    assert (info.size, info.chunks) == (size, -(-size // objects.CHUNK_BYTES))
    assert await read(nats, info) == body
    # And a digest without its padding is the same
    info.digest = str(info.digest).rstrip("=")
    assert await read(nats, info) == body


async def test_the_first_object_of_a_name_stays(nats: InMemoryNats) -> None:
    first = await keep(nats, "a", b"first")
    second = await keep(nats, "a", b"second")
    assert second.nuid == first.nuid
    assert await read(nats, second) == b"first"


async def test_of_two_simultaneous_objects_one_stays_without_chunks_of_the_other(nats: InMemoryNats) -> None:
    # Given another worker that stores its object while this one stores chunks
    other = InMemoryNats()
    other.streams = nats.streams
    theirs = await keep(other, "b", b"theirs")
    meta = nats.streams[STREAM].of("$O.results.M.*")[0]

    def store() -> None:
        subject = objects._meta_subject(BUCKET, "a")  # noqa: SLF001 -- where another worker stores it
        body = json.dumps(json.loads(meta.body) | {"name": "a"}).encode()
        nats.streams[STREAM].publish(subject, body, {}, nats.now)

    nats.before("$O.results.M.", store)
    # When this one is done, then the other's object stays, and only its chunks
    mine = await keep(nats, "a", b"mine")
    assert mine.nuid == theirs.nuid
    assert [chunk.body for chunk in nats.streams[STREAM].of("$O.results.C.>")] == [b"theirs"]


async def test_another_refusal_is_raised(nats: InMemoryNats) -> None:
    nats.before("$O.results.M.", BadRequestError(code=400, err_code=10060))
    with pytest.raises(BadRequestError):
        await keep(nats, "a", b"mine")


async def test_a_failure_leaves_no_chunks(nats: InMemoryNats) -> None:
    nats.before("$O.results.C.", BadRequestError(code=400, err_code=10077))
    with pytest.raises(BadRequestError):
        await keep(nats, "a", b"mine")
    assert nats.streams[STREAM].messages == []


async def test_a_deleted_object_leaves_nothing_and_can_be_stored_again(nats: InMemoryNats) -> None:
    await keep(nats, "a", b"first")
    other = await keep(nats, "b", b"other")
    await objects.delete(nats.jetstream(), BUCKET, "a")
    assert len(nats.streams[STREAM].messages) == 2
    assert await objects.get_info(nats.jetstream(), BUCKET, "a") is None
    assert await read(nats, other) == b"other"
    with pytest.raises(NotFoundError):
        await objects.delete(nats.jetstream(), BUCKET, "a")
    assert await read(nats, await keep(nats, "a", b"second")) == b"second"


async def test_an_object_that_a_client_has_deleted_is_none(nats: InMemoryNats) -> None:
    # Given the note that a client leaves of a deleted object
    await keep(nats, "a", b"first")
    note = nats.streams[STREAM].of("$O.results.M.*")[0]
    deleted = json.dumps(json.loads(note.body) | {"deleted": True}).encode()
    nats.streams[STREAM].publish(note.subject, deleted, {"Nats-Rollup": "sub"}, nats.now)
    # When it is read, then there is none, and it can be stored again
    assert await objects.get_info(nats.jetstream(), BUCKET, "a") is None
    assert await read(nats, await keep(nats, "a", b"second")) == b"second"


async def test_a_damaged_object_is_an_error(nats: InMemoryNats) -> None:
    info = await keep(nats, "a", b"first")
    stream = nats.streams[STREAM]
    stream.messages = [
        type(message)(
            message.subject, message.sequence, message.body.replace(b"first", b"fault"), message.headers, message.time
        )
        for message in stream.messages
    ]
    with pytest.raises(DigestMismatchError):
        await read(nats, info)


@pytest.mark.parametrize("behind", [True, False], ids=["a server that is behind", "a server that does not answer"])
async def test_a_missing_chunk_is_requested_from_the_leader(nats: InMemoryNats, behind: bool) -> None:
    # Given an object of two chunks, and a server that does not know the second one, or is silent
    body = b"x" * (objects.CHUNK_BYTES + 1)
    info = await keep(nats, "a", body)
    stream = nats.streams[STREAM]
    all_messages = list(stream.messages)

    def forget() -> None:
        stream.messages = []

    def remember() -> None:
        stream.messages = all_messages

    nats.before("$JS.API.DIRECT.GET", *([forget] if behind else [NatsTimeoutError()] * 4))
    nats.before("$JS.API.STREAM.MSG.GET", remember)
    # When the object is read, then it is whole
    assert await read(nats, info) == body


async def test_an_object_without_its_chunks_is_an_error(nats: InMemoryNats) -> None:
    info = await keep(nats, "a", b"first")
    nats.streams[STREAM].purge({"filter": "$O.results.C.>"})
    with pytest.raises(NotFoundError):
        await read(nats, info)


def transcript(characters: int) -> TranscriptionResult:
    return messages.transcript("x" * characters, segments=[segment(0)], created_at=NOW)


async def claim(
    parts: Parts, owner: TaskMessageId, characters: int = 5, *, created_at: datetime = NOW
) -> TranscriptionResult:
    result = transcript(characters).model_copy(update={"created_at": created_at})
    reference = await parts.results.store_object(result, result.model_dump_json().encode(), of=owner)
    assert isinstance(reference, TranscriptionResult)
    return reference


async def test_a_large_result_is_whole_behind_its_reference(parts: Parts) -> None:
    result_reference = await claim(parts, FIRST)
    assert (result_reference.text, result_reference.segments) == ("", [])
    assert await parts.results.load_segments(result_reference) == transcript(5)
    assert await parts.results.load_segments(transcript(3)) == transcript(3)
    await parts.results.delete_object("t1")
    with pytest.raises(NotFoundError):
        await parts.results.load_segments(result_reference)


async def test_an_object_belongs_to_its_task_message(parts: Parts) -> None:
    # Given an object of a task
    first = await claim(parts, FIRST)
    # When another attempt has another text, then the first one stays, and is the result
    assert await claim(parts, FIRST, 9, created_at=NOW + timedelta(seconds=1)) == first
    # When a later task has the id, then its object replaces that one, and the earlier task is fenced
    later = await claim(parts, LATER, 9)
    assert later.object != first.object
    with pytest.raises(FencedError):
        await claim(parts, FIRST)
    # And each deletes only its own
    await parts.results.delete_object("t1", of=FIRST)
    assert await parts.results.load_segments(later) == transcript(9)
    await parts.results.delete_object("t1", of=LATER)
    with pytest.raises(NotFoundError):
        await parts.results.load_segments(later)


@pytest.mark.parametrize(
    "description", ["", "of nobody", "of the task message with the stream sequence 1, stored at ?"]
)
async def test_an_object_without_an_owner_is_replaced(parts: Parts, nats: InMemoryNats, description: str) -> None:
    await objects.put_if_absent(nats.jetstream(), BUCKET, "t1", io.BytesIO(b"{}"), description=description)
    assert await parts.results.load_segments(await claim(parts, FIRST)) == transcript(5)


async def completed(parts: Parts, result: TranscriptionResult) -> Record:
    """The log of a task whose result is stored."""
    await parts.results.publish(result, LAST)
    return LAST


def writer(parts: Parts, *, max_payload: int = 1024**2) -> ResultWriter:
    return ResultWriter(parts.results, parts.voice_store, parts.meter, max_payload=max_payload)


def asked(**options: object) -> ResultRequest:
    return ResultRequest.model_validate({"task_id": "t1", "format": ResultFormat.TXT} | options)


HEADROOM = 16 * 1024


@pytest.mark.parametrize(("room", "fits"), [(7, True), (6, False)])
async def test_a_text_that_is_too_large_is_a_reference(parts: Parts, room: int, fits: bool) -> None:
    # Given a result whose text has seven bytes
    last = await completed(parts, transcript(0).model_copy(update={"segments": [segment(0, "sévén")]}))
    # When it is requested as text
    written_result = await writer(parts, max_payload=HEADROOM + room + 1).write(last, asked())
    # Then it is a text if a message has room for it, else where to read it
    if fits:
        assert written_result == "sévén\n".encode()
    else:
        assert isinstance(written_result, TranscriptionResult)
        assert written_result.object is not None


async def as_object(parts: Parts, result: TranscriptionResult) -> int:
    """Store a result as an object, and return how many bytes that has."""
    store = ResultStore(parts.server.client, parts.log)
    store._largest = 1  # noqa: SLF001 -- each result is an object
    await store.publish(result, LAST)
    return len(result.model_dump_json())


@pytest.mark.parametrize(("more", "written"), [(0, True), (1, False)])
async def test_an_object_that_takes_too_long_to_write_is_a_reference(
    parts: Parts, constants: Constants, more: int, written: bool
) -> None:
    # Given a result that is an object, and has as many bytes as are written, or more
    constants(MAX_FORMATTED_BYTES=await as_object(parts, transcript(5)) - more)
    # When it is requested, then it is written unless that takes too long
    written_result = await writer(parts).write(LAST, asked())
    assert isinstance(written_result, bytes) is written
    # And if the text does not fit, it is the object that there is
    if written:
        small = await writer(parts, max_payload=HEADROOM).write(LAST, asked())
        assert isinstance(small, TranscriptionResult)
        assert small.object is not None


async def test_an_unwritable_result_is_an_error(parts: Parts) -> None:
    last = await completed(parts, transcript(3))
    with pytest.raises(RequestError) as unavailable:
        await writer(parts).write(last, asked(format=ResultFormat.RTTM))
    assert unavailable.value.detail.code is ErrorCode.FORMAT_UNAVAILABLE


async def test_too_many_simultaneous_requests_are_refused(parts: Parts, constants: Constants) -> None:
    # Given a service that takes one request at once
    last, one = await completed(parts, transcript(0)), writer(parts)
    constants(MAX_WAITING=1)
    # When two requests arrive, and then a third one
    first, second = await asyncio.gather(*(one.write(last, asked()) for _ in range(2)), return_exceptions=True)
    third = await one.write(last, asked())
    # Then the second one is refused
    assert isinstance(second, RequestError)
    assert "Too many requests for results" in second.detail.message
    assert first == third


@pytest.mark.parametrize(("is_object", "within"), [(True, 0.1), (True, 0.0), (False, 0.1)])
async def test_a_result_that_takes_too_long_is_refused_or_referred_to(
    parts: Parts, constants: Constants, monkeypatch: pytest.MonkeyPatch, is_object: bool, within: float
) -> None:
    # Given a result that takes too long to read
    await (as_object if is_object else completed)(parts, transcript(3))
    monkeypatch.setattr(parts.results, "load_segments", lambda _: asyncio.Event().wait())
    constants(WRITTEN_WITHIN_S=within)
    # When it is requested, then the reply is a reference to it, if there is time to find one
    refused = pytest.raises(RequestError, match="Too many requests for results")
    with nullcontext() if is_object and within else refused:
        written_result = await writer(parts).write(LAST, asked())
        assert isinstance(written_result, TranscriptionResult)
        assert written_result.object is not None


@pytest.fixture
def bucket(nats: InMemoryNats) -> RecordingStore:
    return make_recording_store(Settings(_env_file=None, audio_max_bytes=5), nats.client)


async def upload(nats: InMemoryNats, name: str, body: bytes) -> None:
    await objects.put_if_absent(nats.jetstream(), "audio", name, io.BytesIO(body), description="")


@pytest.mark.parametrize(
    ("body", "code"), [(b"12345", None), (b"", ErrorCode.AUDIO_UNREADABLE), (b"123456", ErrorCode.AUDIO_TOO_LARGE)]
)
async def test_a_recording_of_a_bucket(
    nats: InMemoryNats, bucket: RecordingStore, body: bytes, code: ErrorCode | None
) -> None:
    await upload(nats, "a.flac", body)
    if code is None:
        async with bucket.fetch("a.flac") as recording:
            assert recording.path.read_bytes() == body
            assert recording.sha256 == sha256(body).hexdigest()
        assert not recording.path.exists()
    else:
        with pytest.raises(PermanentError) as refused:
            await bucket.fetch("a.flac").__aenter__()
        assert refused.value.detail.code is code


async def test_a_recording_that_is_not_there(nats: InMemoryNats, bucket: RecordingStore) -> None:
    with pytest.raises(PermanentError, match="'audio'") as missing:
        await bucket.fetch("a.flac").__aenter__()
    assert missing.value.detail.code is ErrorCode.AUDIO_NOT_FOUND
    await bucket.delete("a.flac")
    await upload(nats, "a.flac", b"1")
    await bucket.delete("a.flac")
    with pytest.raises(PermanentError):
        await bucket.fetch("a.flac").__aenter__()
    # And a bucket that is not there is the service's trouble
    del nats.streams["OBJ_audio"]
    with pytest.raises(TransientError, match="is missing"):
        await bucket.fetch("a.flac").__aenter__()


@pytest.mark.parametrize("size", [100, 1_000_000], ids=["in the last buffer", "in the middle"])
async def test_a_full_temporary_folder_is_explained(nats: InMemoryNats, full_disk: Path, size: int) -> None:
    # Given a temporary file on a full disk
    await upload(nats, "a.flac", b"x" * size)
    # When a recording is fetched
    with capture_logs() as lines, pytest.raises(TransientError) as full:
        await make_recording_store(Settings(_env_file=None), nats.client).fetch("a.flac").__aenter__()
    # Then trying again can help, the message says how much room is needed, and the log says where
    assert f"no room for the {size} bytes" in full.value.detail.message
    assert str(full_disk) not in full.value.detail.message
    (line,) = [line for line in lines if line["event"] == "temporary_folder_filled"]
    assert (line["folder"], line["needed_bytes"]) == (str(full_disk), size)
    assert list(full_disk.iterdir()) == []


async def test_a_folder_without_inodes_is_explained(
    nats: InMemoryNats, bucket: RecordingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a temporary folder in which this user may make no more files
    def mkstemp(prefix: str) -> tuple[int, str]:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), prefix)

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    await upload(nats, "a.flac", b"12345")
    # When a recording is fetched, then the message says so
    with pytest.raises(TransientError, match="TMPDIR"):
        await bucket.fetch("a.flac").__aenter__()
