"""Which dead letters are stored, deleted and replayed."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest
from nats.js.errors import APIError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import DeleteLettersRequest, ReplayRequest
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.runtime.errors import RequestError
from app.settings import Settings
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.record import Record
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, UNREADABLE, Parts, provisioned

LETTERS = f"$JS.API.DIRECT.GET.{NAMES.dead_letters}"
REPLAY_T = ReplayRequest(kind=Kind.TRANSCRIPTION)


@pytest.fixture(autouse=True)
def _nobody_registers(constants: Constants) -> None:
    constants(REGISTERED_WITHIN_S=0.01)


async def failed(parts: Parts, task_id: str, **options: object) -> Record:
    """A task that has failed, with its dead letter; its message is settled."""
    last = await parts.reaching(State.FAILED, task_id, **options)
    message = await parts.message_of(last)
    await parts.dead_letters.put(message, task_id, UNREADABLE, attempts=1)
    await parts.messages.delete(message)
    return last


def stored_sequences(nats: InMemoryNats) -> list[int]:
    return [message.sequence for message in nats.streams[NAMES.dead_letters].messages]


def queued(nats: InMemoryNats) -> list[tuple[bytes, dict[str, str]]]:
    return [(message.body, message.headers) for message in nats.streams[NAMES.tasks].messages]


async def test_a_failed_task_is_replayed_unchanged(parts: Parts, nats: InMemoryNats) -> None:
    # Given a failed task, published with headers of all sorts, with segments of its last attempt
    conditions = {"Nats-Expected-Stream": NAMES.tasks, "X-Of-Publisher": "kept"}
    last = await failed(parts, "t1", priority=Priority.HIGH, headers=conditions)
    for _ in range(2):
        nats.streams[NAMES.segments].publish("append.segments.t1", b"{}", {}, nats.now)
    # When it is replayed
    assert await parts.replayer.replay(ReplayRequest(task_id="t1")) == 1
    # Then its message is that of its publisher, without conditions, and says what it replays
    ((body, headers),) = queued(nats)
    assert b'"task_id": "t1"' in body
    assert headers["X-Of-Publisher"] == "kept"
    assert not any(name.startswith("Nats-Expected") for name in headers)
    assert headers["Natscribe-Replay-Of"] == str(last.stream_sequence)
    # And the dead letter and the segments are gone
    assert stored_sequences(nats) == []
    assert nats.streams[NAMES.segments].messages == []


async def test_a_binary_body_is_replayed_unchanged(parts: Parts, nats: InMemoryNats) -> None:
    # Given a dead letter whose body is written in base64
    body = b'{"task_id": "t1", "audio_file_id": "a.flac", "user_id": 7, "prompt": "\\u00e9"}'
    await failed(parts, "t1", body=body)
    (letter,) = nats.streams[NAMES.dead_letters].messages
    encoded = letter.body.replace(b'"utf-8"', b'"base64"')
    binary = type(letter)(letter.subject, letter.sequence, _with_body(encoded, body), letter.headers, letter.time)
    nats.streams[NAMES.dead_letters].messages = [binary]
    # When it is replayed, then the message has the same bytes
    assert await parts.replayer.replay(REPLAY_T) == 1
    assert [replayed for replayed, _ in queued(nats)] == [body]


def _with_body(letter: bytes, body: bytes) -> bytes:
    return json.dumps(json.loads(letter) | {"body": base64.b64encode(body).decode()}).encode()


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.COMPLETED, State.CANCELLED])
async def test_only_failures_are_replayed(parts: Parts, nats: InMemoryNats, state: State) -> None:
    # Given a dead letter of a task that has not failed, or not any longer
    record = await parts.reaching(state, "t1")
    message = await parts.message_of(record)
    await parts.dead_letters.put(message, "t1", UNREADABLE, attempts=1)
    # When it is replayed, then nothing happens to it
    assert await parts.replayer.replay(ReplayRequest(task_id="t1")) == 0
    assert stored_sequences(nats) == [1]
    assert await parts.log.last("t1") == record


async def test_a_dead_letter_of_another_message_is_not_replayed(parts: Parts, nats: InMemoryNats) -> None:
    # Given a failed task, and an invalid message with the same id
    await failed(parts, "t1")
    invalid = await parts.publish("", body=b'{"task_id": "t1"}')
    await parts.dead_letters.put(invalid, "t1", UNREADABLE, attempts=0)
    other = await parts.publish("t1", user_id=8)
    await parts.dead_letters.put(other, "t1", UNREADABLE, attempts=0)
    # When all are replayed, then only the task's own is
    assert await parts.replayer.replay(REPLAY_T) == 1
    assert stored_sequences(nats) == [2, 3]


async def test_a_task_is_replayed_once(parts: Parts, nats: InMemoryNats) -> None:
    # Given that another operator has replayed the same failure
    last = await failed(parts, "t1")
    await nats.jetstream().publish(
        "tasks.transcription.normal", b"{}", headers={"Nats-Msg-Id": f"replay-t1-{last.stream_sequence}"}
    )
    # When it is replayed again, then nothing is queued
    assert await parts.replayer.replay(REPLAY_T) == 0
    assert len(queued(nats)) == 1


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        (ReplayRequest(task_id="t9"), ErrorCode.NOT_FOUND, "t9"),
        (ReplayRequest(task_id="old"), ErrorCode.NOT_FOUND, "no longer stored"),
    ],
)
async def test_a_refused_replay_has_a_reason(
    parts: Parts, request_: ReplayRequest, code: ErrorCode, words: str
) -> None:
    # Given a task whose log has expired
    await failed(parts, "old")
    await parts.log.purge_events("old")
    # When it is replayed, or a task without a dead letter, then the error says so
    with pytest.raises(RequestError, match=words) as refused:
        await parts.replayer.replay(request_)
    assert refused.value.detail.code is code


async def test_dead_letters_without_a_log_are_skipped(parts: Parts, constants: Constants) -> None:
    # Given dead letters, of which two cannot be replayed, and no time
    constants(REPLY_WITHIN_S=-1.0)
    await failed(parts, "old")
    await parts.log.purge_events("old")
    nameless = await parts.publish("", body=b"{")
    await parts.dead_letters.put(nameless, None, UNREADABLE, attempts=0)
    await failed(parts, "new")
    # When all are, then the third is queued
    assert await parts.replayer.replay(REPLAY_T) == 1


async def test_a_full_queue_takes_no_more(constants: Constants, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given three failed tasks, and a queue that holds one
    nats = await provisioned(Settings(_env_file=None, nats_max_msgs_per_subject=1))
    parts = Parts(nats)
    for task_id, priority in (("a", Priority.LOW), ("b", Priority.LOW), ("c", Priority.HIGH)):
        await failed(parts, task_id, priority=priority)
    # When all are replayed, then one of each queue is
    assert await parts.replayer.replay(REPLAY_T) == 2
    assert stored_sequences(nats) == [2]
    # And when there is room for none, the reply says to repeat the request
    with pytest.raises(RequestError, match="queue is full") as refused:
        await parts.replayer.replay(REPLAY_T)
    assert refused.value.detail.code is ErrorCode.INTERNAL
    assert stored_sequences(nats) == [2]


async def test_another_refusal_of_the_queue_is_reported(parts: Parts, nats: InMemoryNats) -> None:
    await failed(parts, "t1")
    nats.before("tasks.", APIError(code=400, err_code=10060))
    with pytest.raises(APIError):
        await parts.replayer.replay(REPLAY_T)


@pytest.mark.parametrize(("within", "replayed"), [(-1.0, 1), (60.0, 3)])
async def test_a_replay_ends_with_its_time(
    parts: Parts, nats: InMemoryNats, constants: Constants, within: float, replayed: int
) -> None:
    constants(REPLY_WITHIN_S=within, PAGE_SIZE=2)  # several pages are read
    for task_id in ("a", "b", "c"):
        await failed(parts, task_id)
    assert await parts.replayer.replay(REPLAY_T) == replayed
    assert len(stored_sequences(nats)) == 3 - replayed
    # And dead letters for which there is no time are not read
    assert (nats.requests.count(LETTERS) > 1) is (replayed == 3)


async def test_a_task_that_fails_again_waits_for_the_next_replay(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a dead letter, and another one that is stored after the replay has started
    await failed(parts, "a")
    await parts.reaching(State.FAILED, "b")

    def fails() -> None:
        letter = nats.streams[NAMES.dead_letters].messages[0]
        body = letter.body.replace(b'"a"', b'"b"').replace(b'\\"a\\"', b'\\"b\\"')
        stream = nats.streams[NAMES.dead_letters]
        stream.publish("append.dead_letters.transcription", body, letter.headers | {"Nats-Msg-Id": "b"}, nats.now)

    nats.before(LETTERS, fails)
    constants(PAGE_SIZE=2)
    # When all are replayed, then the first is, and nothing behind the second one is read
    assert await parts.replayer.replay(REPLAY_T) == 1
    assert stored_sequences(nats) == [2]
    assert nats.requests.count(LETTERS) == 1


async def test_a_replay_waits_until_its_tasks_are_registered(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given a worker that registers a replayed task after a while
    constants(REGISTERED_WITHIN_S=30.0)
    last = await failed(parts, "t1")
    reads = 0

    async def register() -> None:
        message = await parts.messages.find(None, nats.streams[NAMES.tasks].last_sequence)
        assert message is not None
        await parts.register(message)

    def registered() -> None:
        nonlocal reads
        reads += 1
        if reads == 3:
            tasks.append(asyncio.create_task(register()))

    tasks: list[asyncio.Task[None]] = []
    nats.before(f"$JS.API.DIRECT.GET.{NAMES.progress}", *[registered] * 3)
    # When it is replayed, then its log has continued before the reply
    assert await parts.replayer.replay(REPLAY_T) == 1
    after = await parts.log.last("t1")
    assert after is not None
    assert (after.event.state, after.stream_sequence > last.stream_sequence) == (State.QUEUED, True)


async def test_a_dead_letter_is_stored_once(parts: Parts, nats: InMemoryNats) -> None:
    # Given messages: one, the same again, one with another time and one with another number
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    message = await parts.publish("t1", headers=trace)
    later = StoredMessage(message.subject, message.sequence, message.time + timedelta(seconds=1), {}, message.body)
    other = StoredMessage(message.subject, message.sequence + 1, message.time, {}, message.body)
    for failed in (message, message, later, other):
        await parts.dead_letters.put(failed, "t1", UNREADABLE, attempts=1)
    # Then each has a dead letter, and each is counted
    assert stored_sequences(nats) == [1, 2, 3]
    counted = [line for line in parts.meter.exposition().decode().splitlines() if "dead_letters_total{" in line]
    assert [line.rpartition(" ")[2] for line in counted] == ["3.0"]
    # And the dead letter belongs to the publisher's trace, if there is one
    headers = [message.headers for message in nats.streams[NAMES.dead_letters].messages]
    assert [fields.get("traceparent") for fields in headers] == [trace["traceparent"], None, None]


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (DeleteLettersRequest(task_id="a"), [2, 3, 4]),
        (DeleteLettersRequest(kind=Kind.TRANSCRIPTION), [3]),
        (DeleteLettersRequest(kind=Kind.TRANSCRIPTION, after=1), [1, 3]),
        (DeleteLettersRequest(code=ErrorCode.EXPIRED), [1, 2, 3, 4]),
        (DeleteLettersRequest(code=ErrorCode.INVALID_MESSAGE), [1, 2, 3]),
    ],
)
async def test_the_chosen_dead_letters_are_deleted(
    parts: Parts, nats: InMemoryNats, choice: DeleteLettersRequest, left: list[int]
) -> None:
    for task_id, queue in (("a", TaskType.TRANSCRIPTION), ("b", TaskType.TRANSCRIPTION), ("c", TaskType.DIARIZATION)):
        await failed(parts, task_id, queue=queue)
    invalid = await parts.publish("", body=b"{")
    assert invalid.problem is not None
    await parts.dead_letters.put(invalid, None, invalid.problem, attempts=0)
    reply = await parts.dead_letters.delete(choice)
    assert (stored_sequences(nats), reply.deleted, reply.more_after) == (left, 4 - len(left), None)
    assert (await parts.tasks.status("a")).state is State.FAILED


async def test_a_long_deletion_continues_with_the_next_request(
    parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    # Given three dead letters, and no time
    constants(REPLY_WITHIN_S=-1.0, PAGE_SIZE=2)
    for task_id in ("a", "b", "c"):
        await failed(parts, task_id)
    # When they are deleted, then each reply says where the next one starts
    first = await parts.dead_letters.delete(DeleteLettersRequest(kind=Kind.TRANSCRIPTION))
    assert (first.deleted, first.more_after) == (2, 2)
    second = await parts.dead_letters.delete(DeleteLettersRequest(kind=Kind.TRANSCRIPTION, after=2))
    assert second.deleted == 1


async def test_dead_letters_of_a_task_are_deleted_once(parts: Parts, nats: InMemoryNats) -> None:
    await failed(parts, "a")
    assert await parts.dead_letters.delete_all("b") is False
    assert await parts.dead_letters.delete_all("a") is True
    assert await parts.dead_letters.delete_one(1) is False
    nats.before("$JS.API.STREAM.MSG.DELETE", APIError(code=500, err_code=10000))
    with pytest.raises(APIError):
        await parts.dead_letters.delete_one(1)
