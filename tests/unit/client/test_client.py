"""The client without a server."""

import asyncio
import json
import wave
from asyncio import StreamReader, StreamWriter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import cast
from unittest.mock import AsyncMock, call

import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError
from natscribe.client import (
    ClientError,
    OptionError,
    QueueFullError,
    RecordingError,
    RequestFailedError,
    StorageFullError,
    StorageStoppedError,
    TaskIdTakenError,
    UnreachableError,
    exchange,
)
from natscribe.client.bucket import Bucket
from natscribe.client.connection import connect
from natscribe.client.exchange import publish_task, request, request_message
from natscribe.client.recordings import audio_file_id, choose_priority, new_task_id, recording_duration
from natscribe.client.stores import Store
from natscribe.client.submission import Submission
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import Deleted, ResultFormat, ResultRequest, TaskRequest, TaskStatus
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Priority, TaskType
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from pydantic import SecretStr

from app.command.embedded import free_port
from app.settings import Settings
from tests.constants import Constants
from tests.tcp import served
from tests.unit.messages import task_status
from tests.waiting import eventually

QUEUE = subjects.tasks(TaskType.TRANSCRIPTION, Priority.HIGH)
STORED = b'{"stream": "transcription_tasks", "seq": 1}'
DUPLICATE = b'{"stream": "transcription_tasks", "seq": 1, "duplicate": true}'
UNKNOWN = b'{"error": {"code": "not_found", "message": "No such task."}}'
FAILING = b'{"error": {"code": "internal", "message": "Ask again."}}'
REQUEST = TaskRequest(task_id="t1")
QUEUE_IS_FULL = APIError(code=503, err_code=10077, description="maximum messages per subject exceeded")
TASK = TranscriptionTask(task_id="t1", audio_file_id="a.wav", user_id=0)


class FakeNats:
    """Replies to requests and publishes from a script: bytes are a reply, an exception is raised, None: no reply.

    A future is a reply that arrives later.
    """

    def __init__(self, *script: bytes | Exception | asyncio.Future[bytes] | None, has_stream: bool = False) -> None:
        self.script = list(script)
        self.has_stream = has_stream
        self.headers: list[dict[str, str]] = []

    def jetstream(self) -> "FakeNats":
        return self

    async def request(self, subject: str, _payload: bytes, timeout: float) -> Msg:  # noqa: ASYNC109 -- nats-py's signature
        assert timeout > 0
        if self.script[:1] == [None]:
            self.script.pop(0)
            await asyncio.Event().wait()
        step = self._next()
        return Msg(_client=Nats(), subject=subject, data=step if isinstance(step, bytes) else await step)

    async def is_over(self) -> bool:
        return not self.script

    async def publish(self, _subject: str, _payload: bytes, _timeout: float, headers: dict[str, str]) -> PubAck:
        self.headers.append(headers)
        stored = self._next()
        assert isinstance(stored, bytes)
        return PubAck.from_response(json.loads(stored))

    async def find_stream_name_by_subject(self, subject: str) -> str:
        if not self.has_stream:
            raise NotFoundError
        return subject

    def _next(self) -> bytes | asyncio.Future[bytes]:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        assert step is not None
        return step

    @property
    def connection(self) -> Nats:
        return cast("Nats", self)


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("Meeting, Tuesday (2).flac", "Meeting-Tuesday-2"),
        ("...", "task"),
        ("a" * 300, "a" * 40),
        ("Встреча Юли.mp3", "Vstrecha-Iuli"),
        ("объявление Щукиной №5.wav", "obieiavlenie-Shchukinoi-No5"),
        ("Ё\u0438\u0306.wav", "Ei"),  # as macOS writes a short i
        ("Überblick café.mp3", "Uberblick-cafe"),
        ("会議.wav", "task"),
    ],
)
def test_task_ids_are_readable_valid_and_different(name: str, readable: str) -> None:
    task_id = new_task_id(Path(name))
    assert task_id.rpartition("-")[0] == readable
    assert TaskRequest(task_id=task_id).task_id == task_id
    assert task_id != new_task_id(Path(name))


@pytest.mark.parametrize(
    ("seconds", "priority"), [(5, Priority.HIGH), (10 * 60, Priority.NORMAL), (31 * 60, Priority.LOW)]
)
async def test_short_recordings_get_a_higher_priority(tmp_path: Path, seconds: int, priority: Priority) -> None:
    # Given a recording
    recording = tmp_path / "r.wav"
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 1, 100, 0, "NONE", ""))
        file.writeframes(bytes(100 * seconds))
    # When its priority is chosen
    # Then it depends on the duration
    assert choose_priority(await recording_duration(recording)) is priority


async def test_a_recording_of_unknown_duration_gets_normal_priority(tmp_path: Path) -> None:
    # Given a file that is not a recording, and a stored recording
    (tmp_path / "r.wav").write_bytes(b"not a recording")
    for recording in (tmp_path / "r.wav", "r.wav"):
        assert choose_priority(await recording_duration(recording)) is Priority.NORMAL


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("Meeting of the team, №5.flac", "Meeting of the team, №5.flac"),
        ("a\x1b]0;b\x07\u202eg:*?.wav", "a_]0;b__g___.wav"),
        ("x" * 200 + ".wav", "x" * 76 + ".wav"),
    ],
)
async def test_an_upload_keeps_the_name_of_its_file_after_the_id_of_its_task(
    tmp_path: Path, name: str, stored: str
) -> None:
    (tmp_path / name).write_bytes(b"audio")
    assert await audio_file_id(Settings(audio_store="nats://audio"), tmp_path / name, "t1") == f"t1-{stored}"


async def test_a_file_in_the_folder_store_is_named_from_its_root(tmp_path: Path) -> None:
    # Given a file somewhere under the store
    recording = tmp_path / "store" / "2026" / "r.wav"
    recording.parent.mkdir(parents=True)
    recording.write_bytes(b"audio")
    # When its id is determined
    file_id = await audio_file_id(Settings(audio_store=(tmp_path / "store").as_uri()), recording, "t1")
    # Then its id is the path from the store's root
    assert file_id == "2026/r.wav"


async def test_a_publisher_waits_until_a_cluster_has_elected_a_leader(constants: Constants) -> None:
    constants(ELECTION_S=0)
    # Given a task stream that has just lost its leader, and does not reply
    nats = FakeNats(NoStreamResponseError(), NoStreamResponseError(), STORED, has_stream=True)
    # When a task is published, then the next leader stores it
    assert await publish_task(nats.connection, QUEUE, TASK)
    assert nats.script == []


@pytest.mark.parametrize(
    ("happens", "error", "words"),
    [
        (NoRespondersError(), UnreachableError, "natscribe up.*or wait if one is just starting"),
        (NatsTimeoutError(), UnreachableError, "try again"),
        (b"{}x", ClientError, "contract"),
    ],
)
async def test_a_missing_or_invalid_reply_is_explained(
    happens: bytes | Exception, error: type[Exception], words: str
) -> None:
    # Given a service that is absent, hangs or has another contract
    nats = FakeNats(happens)
    # When a request is sent
    # Then the error says what to do
    with pytest.raises(error, match=words):
        await request(nats.connection, subjects.DELETE, REQUEST, Deleted)


async def test_a_request_to_a_frozen_worker_is_sent_again(constants: Constants) -> None:
    # Given a frozen worker, and one that replies
    constants(RESEND_AFTER_S=0.01)
    nats = FakeNats(None, UNKNOWN)
    # When a request reaches the frozen one, then the other worker's reply is returned
    with pytest.raises(RequestFailedError, match="No such task") as refused:
        await request(nats.connection, subjects.STATUS, REQUEST, TaskStatus)
    assert refused.value.code is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("failure", [NoRespondersError(), FAILING])
async def test_a_pending_reply_outweighs_the_error_of_a_copy(constants: Constants, failure: bytes | Exception) -> None:
    # Given a slow worker that is overloaded or gone when a copy of the request is sent
    constants(RESEND_AFTER_S=0.01)
    slow = asyncio.get_running_loop().create_future()
    nats = FakeNats(slow, failure)
    requesting = asyncio.create_task(request_message(nats.connection, subjects.STATUS, REQUEST))
    await eventually(nats.is_over)
    # When its reply arrives, then it is returned
    slow.set_result(b"{}")
    assert (await requesting).data == b"{}"


async def test_the_error_of_a_copy_is_raised_without_another_reply(constants: Constants) -> None:
    # Given a frozen worker, and one that fails
    constants(RESEND_AFTER_S=0.01, REPLY_TIMEOUT_S=0.5)
    nats = FakeNats(None, FAILING, UNKNOWN)
    # When both have received the request, then the failure is raised, and no further copy is sent
    with pytest.raises(RequestFailedError, match="Ask again"):
        await request(nats.connection, subjects.STATUS, REQUEST, TaskStatus)
    assert nats.script == [UNKNOWN]


@pytest.mark.parametrize(
    ("subject", "message", "copies"),
    [
        (subjects.STATUS, REQUEST, 3),
        (subjects.CANCEL, REQUEST, 3),
        (subjects.RESULT, ResultRequest(task_id="t1"), 3),
        (subjects.RESULT, ResultRequest(task_id="t1", format=ResultFormat.SRT), 2),  # text is expensive to format
        *[(subject, REQUEST, 1) for subject in (subjects.DELETE, subjects.REPLAY, subjects.ENROLL, subjects.RENAME)],
    ],
)
async def test_only_a_request_that_may_be_processed_twice_is_repeated_a_few_times(
    constants: Constants, subject: str, message: TaskRequest, copies: int
) -> None:
    # Given workers that do not reply
    constants(RESEND_AFTER_S=0.01, REPLY_TIMEOUT_S=0.5)
    nats = FakeNats(*[None] * 5)
    # When a request times out, then it was sent this often
    with pytest.raises(UnreachableError, match="did not reply"):
        await request_message(nats.connection, subject, message)
    assert 5 - len(nats.script) == copies


async def test_a_publish_is_repeated_under_the_same_id() -> None:
    # Given a server whose first acknowledgement is lost
    nats = FakeNats(NatsTimeoutError(), STORED)
    # When a task is published
    assert await publish_task(nats.connection, QUEUE, TASK)
    # Then it was sent twice under one id, so that JetStream drops a duplicate
    assert [headers["Nats-Msg-Id"] for headers in nats.headers] == ["t1", "t1"]


async def test_a_task_carries_the_duration_and_the_trace_context_in_its_headers() -> None:
    # Given a publisher that traces
    nats = FakeNats(STORED)
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1)))
    with use_span(span):
        await publish_task(nats.connection, QUEUE, TASK, seconds=61.23)
    # Then both are in the headers of the task
    assert nats.headers[0]["Natscribe-Audio-Seconds"] == "61.2"
    assert f"{0xABC:032x}" in nats.headers[0]["traceparent"]


@pytest.mark.parametrize(
    ("happens", "error", "words"),
    [
        (NoStreamResponseError(), UnreachableError, "natscribe up.*or wait if one is just starting"),
        (QUEUE_IS_FULL, QueueFullError, QUEUE),
        (APIError(code=503, err_code=10023, description="insufficient resources"), StorageFullError, "no room"),
        (APIError(code=400, err_code=10054, description="message size exceeds maximum"), ClientError, "message size"),
        (NatsTimeoutError(), UnreachableError, "task t1: submit it again with this id"),
    ],
)
async def test_a_refused_publish_is_explained(happens: Exception, error: type[Exception], words: str) -> None:
    # Given a server that refuses the task, or never acknowledges it
    nats = FakeNats(*[happens] * exchange.PUBLISH_ATTEMPTS)
    # When it is published
    # Then the error says what to do
    with pytest.raises(error, match=words):
        await publish_task(nats.connection, QUEUE, TASK)


@pytest.fixture
def js() -> AsyncMock:
    return AsyncMock(spec=JetStreamContext)


async def test_a_missing_bucket_is_explained(js: AsyncMock) -> None:
    # Given a server without the bucket: the service is just starting, or reads recordings from a folder
    js.object_store.side_effect = NotFoundError()
    # When a recording is uploaded
    # Then the error says what to do in each case
    with pytest.raises(UnreachableError, match=r"no bucket 'audio'.*wait.*set AUDIO_STORE here.*--stored"):
        await Bucket(js, "audio").upload(Path("r.wav"), "r.wav")


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (APIError(code=503, err_code=10051), "because its disk is or was full: .* make room on the disk and"),
        (NatsTimeoutError(), "perhaps because its disk .* make room on the disk, if it is full, and"),
    ],
)
async def test_only_nats_itself_knows_that_its_disk_is_full(
    js: AsyncMock, tmp_path: Path, happens: Exception, words: str
) -> None:
    # Given a bucket whose leader replies but stores nothing: NATS reports it, or acknowledges nothing
    recording = tmp_path / "recording.wav"
    recording.write_bytes(b"audio")
    js.object_store.return_value.get_info.side_effect = NotFoundError()
    js.object_store.return_value.put.side_effect = happens
    # When a recording is uploaded, then the error states the full disk as a fact only if NATS reported it
    with pytest.raises(StorageStoppedError, match=f"recording.wav, {words}"):
        await Bucket(js, "audio").upload(recording, "r.wav")


@pytest.mark.parametrize("opened", [True, False])
async def test_a_cluster_without_a_leader_is_not_taken_for_a_server_without_jetstream(
    js: AsyncMock, opened: bool
) -> None:
    # Given a bucket whose leader was lost, before or after the client has found the bucket
    request = js.object_store.return_value.get_info if opened else js.object_store
    request.side_effect = ServiceUnavailableError(code=503, err_code=10008, description="temporarily unavailable")
    # When a recording is compared, then the error says what to do
    with pytest.raises(UnreachableError, match="try again in a moment"):
        await Bucket(js, "audio").differs(Path("r.wav"), "r.wav")


def running(task: TranscriptionTask) -> bytes:
    """The status of a running task."""
    return task_status(task=task).model_dump_json().encode()


OTHER, DIFFERS = running(TASK.model_copy(update={"language": "de"})), r"differs in language\): choose another id"


@pytest.fixture
def store() -> AsyncMock:
    """An empty store."""
    return AsyncMock(spec=Bucket, **{"upload.return_value": True, "differs.return_value": False})


def submission(nats: FakeNats, store: Store) -> Submission:
    return Submission(nats.connection, store, Path(TASK.audio_file_id), TASK)


@pytest.mark.parametrize(
    ("script", "is_new", "published"),
    [
        pytest.param([running(TASK)], False, 0, id="the service has it"),
        pytest.param([NoRespondersError(), DUPLICATE, NoRespondersError()], False, 1, id="no worker runs"),
        pytest.param([UNKNOWN, DUPLICATE, UNKNOWN, running(TASK)], False, 1, id="it is registered a moment later"),
        pytest.param([UNKNOWN, STORED, FAILING], False, 1, id="the service fails to report its status"),
        pytest.param([UNKNOWN, NatsTimeoutError(), DUPLICATE, UNKNOWN], False, 2, id="its acknowledgement is lost"),
        pytest.param([NatsTimeoutError(), DUPLICATE], True, 2, id="the acknowledgement of a new one is lost"),
    ],
)
async def test_a_task_that_is_or_may_be_stored_counts_as_submitted(
    store: AsyncMock, script: list[Exception | bytes], is_new: bool, published: int
) -> None:
    nats = FakeNats(*script)
    # When a task is submitted
    await submission(nats, store).submit(QUEUE, is_new=is_new)
    # Then it was published only as often as necessary, and its recording stays
    assert (nats.script, len(nats.headers)) == ([], published)
    store.delete.assert_not_awaited()


@pytest.mark.parametrize(
    ("script", "error", "words", "deletions"),
    [
        pytest.param([UNKNOWN, QUEUE_IS_FULL], QueueFullError, "is full", 1, id="full"),
        pytest.param(
            [UNKNOWN, DUPLICATE, *[UNKNOWN] * 3],
            TaskIdTakenError,
            "deleted moments ago: choose another id or wait two minutes",
            1,
            id="a deleted task had the id",
        ),
        pytest.param([OTHER], TaskIdTakenError, DIFFERS, 0, id="another task has the id"),
        pytest.param([UNKNOWN, STORED, OTHER], TaskIdTakenError, DIFFERS, 0, id="another task got it meanwhile"),
        pytest.param([UNKNOWN, DUPLICATE, OTHER], TaskIdTakenError, DIFFERS, 0, id="another task got it just before"),
    ],
)
async def test_a_refused_task_is_explained_and_only_a_recording_without_a_task_deleted(
    store: AsyncMock, script: list[Exception | bytes], error: type[Exception], words: str, deletions: int
) -> None:
    with pytest.raises(error, match=words):
        await submission(FakeNats(*script), store).submit(QUEUE, is_new=False)
    assert store.delete.await_args_list == [call(TASK.audio_file_id)] * deletions


@pytest.mark.parametrize(
    ("store", "name", "words"),
    [
        ("nats://audio", "", "is a folder"),
        ("nats://audio", "empty.wav", "is empty"),
        ("nats://audio", "none.wav", "no file"),
        ("file:///srv/audio", "call.wav", r"call\.wav is not in AUDIO_STORE \(/srv/audio\): copy it there"),
        ("https://files.example.com/", "call.wav", r"https://files\.example\.com/.*can only be read.*--stored"),
    ],
)
async def test_a_file_that_cannot_be_uploaded_is_refused(tmp_path: Path, store: str, name: str, words: str) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "call.wav").write_bytes(b"audio")
    with pytest.raises(RecordingError, match=words):
        await audio_file_id(Settings(audio_store=store), tmp_path / name, "t1")


@pytest.mark.parametrize("store", ["nats://audio", "file:///srv/audio", "https://files.example.com/"])
async def test_a_string_that_is_a_path_is_refused(tmp_path: Path, store: str) -> None:
    # Given a file here
    (tmp_path / "call.wav").write_bytes(b"audio")
    # When its path is passed as a string, which names a stored recording, then the error says what to pass
    with pytest.raises(OptionError, match=r"call\.wav is a file here.*: pass Path\('/.*call\.wav'\)"):
        await audio_file_id(Settings(audio_store=store), str(tmp_path / "call.wav"), "t1")
    # And the path of a missing file is a name
    assert await audio_file_id(Settings(audio_store=store), f"{tmp_path}/{'x' * 300}", "t1")


@pytest.mark.parametrize(
    ("store", "name"),
    [
        ("nats://audio", "call.wav"),
        ("file:///srv/audio", "2026/call.wav"),
        ("https://files.example.com/", "2026/call.wav"),
        ("nats://audio", "a\0/b"),
    ],
)
async def test_a_stored_recording_may_have_the_name_of_a_local_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str, name: str
) -> None:
    (tmp_path / "2026").mkdir()
    for path in ("call.wav", "2026/call.wav"):
        (tmp_path / path).write_bytes(b"audio")
    monkeypatch.chdir(tmp_path)
    assert await audio_file_id(Settings(audio_store=store), name, "t1") == name
    # But not with a folder, if recordings are uploaded
    with pytest.raises(OptionError, match="is a file here"):
        await audio_file_id(Settings(audio_store="nats://audio"), "2026/call.wav", "t1")


async def test_a_refused_login_is_reported_at_once_despite_an_unreachable_server() -> None:
    # Given servers of a cluster that refuse the login and name each other, and an address without a server
    ports, dead = [free_port(), free_port()], free_port()
    urls = [f"127.0.0.1:{port}" for port in ports]
    hello = {"server_id": "n", "version": "2.15.1", "proto": 1, "max_payload": 2**20, "connect_urls": urls}

    async def refuse(reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(hello).encode() + b"\r\n")
        await reader.readline()
        writer.write(b"-ERR 'Authorization Violation'\r\n")
        await writer.drain()

    async with AsyncExitStack() as servers:
        for port in ports:
            await servers.enter_async_context(served(refuse, port=port))
        addresses = f"nats://{urls[0]},nats://127.0.0.1:{dead}"
        settings = Settings(_env_file=None, nats_url=addresses, nats_user="u", nats_password=SecretStr("wrong"))
        # When a client connects, then the error is about the login
        async with asyncio.timeout(5):
            with pytest.raises(UnreachableError, match="refuses the login"):
                await connect(settings)
