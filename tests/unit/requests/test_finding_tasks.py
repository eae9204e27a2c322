"""Finding a task by its id or its recording among those that wait, and letting those fail that waited too long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State
from natscribe.schemas.requests import ResultFormat, ResultRequest

from app.errors import RequestError
from app.operations.expiry import expire_tasks
from app.queue.index import QueueIndex
from app.queue.stored_message import StoredMessage
from app.requests.task_lookup import find_task
from app.retention.queued_recordings import QueuedRecordings
from app.task_log.record import Owner, Record
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, NO_SOUND, Parts
from tests.unit.execution.test_deliveries import result

Find = Callable[[str], Awaitable[Record | None]]
READ = f"$JS.API.DIRECT.GET.{NAMES.tasks}"


@pytest.fixture
def index(parts: Parts, nats: InMemoryNats) -> QueueIndex:
    return QueueIndex(nats.client, NAMES, parts.messages, key=lambda message: message.task_id)


async def sequences(index: QueueIndex, key: str) -> list[int]:
    return [message.sequence for message in await index.find(key)]


async def test_each_message_of_a_key_is_found(parts: Parts, index: QueueIndex) -> None:
    # Given messages, of which two have the same id and one has none
    for task_id in ("a", "b", "a"):
        await parts.publish(task_id)
    await parts.publish("", body=b"[]")
    # When one looks for an id, then all that wait are found
    assert await sequences(index, "a") == [1, 3]
    assert await sequences(index, "c") == []
    # And what has come since
    await parts.publish("c")
    assert await sequences(index, "c") == [5]


async def test_what_is_settled_is_found_no_more(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    first, second = [await parts.publish("a") for _ in range(2)]
    assert await sequences(index, "a") == [1, 2]
    await parts.messages.delete(first.sequence)
    assert await sequences(index, "a") == [2]
    await parts.messages.delete(second.sequence)
    assert await sequences(index, "a") == []
    # And not even asked for again
    nats.asked.clear()
    assert [message async for message in index.indexed("a")] == []
    assert nats.asked == []


async def test_a_message_is_read_once(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    await parts.publish("a")
    await index.find("b")
    nats.asked.clear()
    # When one looks for what is known, then nothing is read but the message
    assert await sequences(index, "a") == [1]
    assert READ not in nats.asked


async def test_those_who_look_at_once_share_a_reading(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    await parts.publish("a")
    nats.asked.clear()
    await asyncio.gather(*(index.update() for _ in range(5)))
    assert nats.asked.count(f"$JS.API.STREAM.INFO.{NAMES.tasks}") == 2  # the one that ran, and the one that began later


async def test_a_reading_that_fails_is_done_by_the_next(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    # Given two who look, of whom the first gets no answer
    await parts.publish("a")
    nats.before("$JS.API.STREAM.INFO", NatsTimeoutError())
    found = await asyncio.gather(index.find("a"), index.find("a"), return_exceptions=True)
    # Then the second reads itself
    assert isinstance(found[0], NatsTimeoutError)
    assert not isinstance(found[1], BaseException)
    assert [message.sequence for message in found[1]] == [1]


async def test_a_new_stream_is_read_anew(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    # Given a stream that was deleted and made again
    for task_id in ("a", "b"):
        await parts.publish(task_id)
    assert await sequences(index, "b") == [2]
    await nats.jetstream().delete_stream(NAMES.tasks)
    await parts.stream_guard.check()
    await parts.publish("b")
    # When one looks, then the sequence is the new one
    assert await sequences(index, "b") == [1]


@pytest.mark.parametrize(("spare", "anew"), [(0, True), (1, False)])
async def test_when_most_are_settled_all_is_read_anew(
    parts: Parts,
    nats: InMemoryNats,
    index: QueueIndex,
    constants: Constants,
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    anew: bool,
) -> None:
    # Given three known messages of which one is left
    constants(SPARE=spare)
    messages = [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    await index.update()
    for message in messages[:2]:
        await nats.jetstream().delete_msg(NAMES.tasks, message.sequence)
    read: list[int] = []
    pages_after = parts.messages.pages_after

    def noted(sequence: int) -> AsyncIterator[list[StoredMessage]]:
        read.append(sequence)
        return pages_after(sequence)

    monkeypatch.setattr(parts.messages, "pages_after", noted)
    # When one reads on, then from the beginning if there is much that is settled
    await index.update()
    assert read == [0 if anew else 3]


async def test_recordings_that_others_need_are_kept(parts: Parts, nats: InMemoryNats) -> None:
    # Given tasks that wait for two recordings
    queued = QueuedRecordings(nats.client, NAMES, parts.messages)
    first = await parts.publish("t1", audio_file_id="a.flac")
    second = await parts.publish("t2", audio_file_id="b.flac")
    await parts.publish("", body=b"{")
    third = await parts.publish("t3", audio_file_id="c.flac", later="field")  # of a later version
    wanted = {"a.flac", "b.flac", "c.flac"}
    # When somebody asks which are needed, besides by tasks that have ended
    assert await queued.filter_used(wanted, except_by=[]) == wanted
    assert await queued.filter_used(wanted, except_by=[_owner(first)]) == {"b.flac", "c.flac"}
    assert await queued.filter_used(wanted, except_by=[_owner(each) for each in (first, second, third)]) == set()


def _owner(message: StoredMessage) -> Owner:
    return Owner(message.time, message.sequence)


@pytest.fixture
def find(parts: Parts, index: QueueIndex) -> Find:
    return partial(find_task, parts.log, index, parts.registration)


async def test_a_task_is_found_before_anybody_has_registered_it(parts: Parts, find: Find) -> None:
    await parts.publish("t1")
    found = await find("t1")
    assert found is not None
    assert found.event.state is State.QUEUED
    assert await find("t1") == found
    assert await find("t2") is None


async def test_a_message_that_is_no_task_is_told(parts: Parts, find: Find) -> None:
    await parts.publish("", body=b'{"task_id": "t1"}')
    with pytest.raises(RequestError, match="no valid transcription task") as refused:
        await find("t1")
    assert refused.value.detail.code is ErrorCode.INVALID_MESSAGE


async def test_a_task_that_cannot_be_registered_now_is_told(
    parts: Parts, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        """As if another worker were faster, and slow."""

    monkeypatch.setattr(parts.registration, "register_waiting", nothing)
    await parts.publish("t1")
    with pytest.raises(RequestError, match="could not register it now"):
        await find("t1")


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("age", "state", "ends_as"),
    [
        (DAY, State.QUEUED, State.FAILED),
        (DAY - timedelta(minutes=1), State.QUEUED, State.QUEUED),
        (DAY, State.RETRYING, State.FAILED),
        (DAY, State.RUNNING, State.RUNNING),
        (DAY, State.CANCELLED, State.CANCELLED),
    ],
)
async def test_what_waits_too_long_fails(
    parts: Parts, nats: InMemoryNats, age: timedelta, state: State, ends_as: State
) -> None:
    # Given a task of some age, behind one that is no task
    await parts.publish("", body=b"{")
    await parts.reaching(state, "t1")
    nats.ahead += age
    await parts.publish("young")
    # When the queues are searched
    await expire_tasks(parts.messages, parts.registration, parts.log, parts.dead_letters, after=DAY)
    # Then it fails if it still waits, and has a dead letter
    last = await parts.log.last("t1")
    assert last is not None
    assert last.event.state is ends_as
    expired = ends_as is State.FAILED
    assert len(nats.streams[NAMES.dead_letters].messages) == expired
    assert (await parts.messages.find(None, 2) is None) is expired
    assert last.event.error is None or last.event.error.code is ErrorCode.EXPIRED


async def test_a_task_that_begins_while_it_expires_goes_on(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that has waited too long, and a worker that begins it when a search has seen that
    await parts.reaching(State.QUEUED, "t1")
    nats.ahead += DAY
    end = parts.log.end

    async def late(last: Record, error: ErrorDetail | None = None) -> Record:
        await parts.advance(last, State.RUNNING, attempt=1)
        return await end(last, error)

    monkeypatch.setattr(parts.log, "end", late)
    # When the search goes on
    await expire_tasks(parts.messages, parts.registration, parts.log, parts.dead_letters, after=DAY)
    # Then the task runs, and keeps its message
    last = await parts.log.last("t1")
    assert last is not None
    assert last.event.state is State.RUNNING
    assert len(nats.streams[NAMES.tasks].messages) == 1
    assert nats.streams[NAMES.dead_letters].messages == []


async def test_many_expired_tasks_are_read_in_batches(parts: Parts, nats: InMemoryNats) -> None:
    for number in range(45):
        await parts.publish(f"t{number}")
    nats.ahead += DAY
    await expire_tasks(parts.messages, parts.registration, parts.log, parts.dead_letters, after=DAY)
    assert nats.streams[NAMES.tasks].messages == []
    assert len(nats.streams[NAMES.dead_letters].messages) == 45


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_only_a_waiting_task_has_a_position(parts: Parts, state: State) -> None:
    await parts.reaching(state, "t1")
    status = await parts.tasks.status("t1")
    assert (status.state, status.queue_position) == (state, 1 if state is State.QUEUED else None)


@pytest.mark.parametrize(
    ("state", "ends_as", "held"),
    [
        (State.QUEUED, State.CANCELLED, False),
        (State.RUNNING, State.CANCELLED, False),
        (State.COMPLETED, State.COMPLETED, True),
        (State.FAILED, State.FAILED, True),
    ],
)
async def test_a_cancel_ends_what_has_not_ended(parts: Parts, state: State, ends_as: State, held: bool) -> None:
    record = await parts.reaching(state, "t1")
    assert (await parts.tasks.cancel("t1")).state is ends_as
    message = await parts.messages.find(None, record.metadata.task_sequence)
    assert (message is not None) is held  # the worker that has it settles it


async def test_a_cancel_of_a_failure_that_was_decided_leaves_its_message(parts: Parts) -> None:
    # Given a worker that has decided that its task fails
    record = await parts.reaching(State.RUNNING, "t1")
    await parts.log.forbid_result(record, NO_SOUND)
    # When the task is cancelled, then it has failed, and its message stays for its dead letter
    status = await parts.tasks.cancel("t1")
    assert (status.state, status.error) == (State.FAILED, NO_SOUND)
    assert await parts.messages.find(None, record.metadata.task_sequence) is not None


async def test_a_cancel_of_a_task_whose_result_is_stored_completes_it(parts: Parts, nats: InMemoryNats) -> None:
    # Given a worker that has published a result, and has not appended `completed`
    record = await parts.reaching(State.RUNNING, "t1")
    await parts.results.publish(result("t1"), record)
    # When the task is cancelled, then it has completed, with its one result, and its message is gone
    status = await parts.tasks.cancel("t1")
    assert (status.state, status.progress, status.result_available) == (State.COMPLETED, 100, True)
    assert len(nats.streams[NAMES.results].messages) == 1
    assert nats.streams[NAMES.tasks].messages == []


@pytest.mark.parametrize("format", [ResultFormat.JSON, ResultFormat.TXT])
async def test_a_task_without_its_result_says_so(parts: Parts, format: ResultFormat) -> None:  # noqa: A002
    # Given a task that is not done, and one whose result has expired
    await parts.reaching(State.QUEUED, "waits")
    await parts.reaching(State.COMPLETED, "old")
    # When their results are asked for, then each refusal says why
    with pytest.raises(RequestError) as waits:
        await parts.tasks.result(ResultRequest(task_id="waits", format=format))
    with pytest.raises(RequestError, match="has expired") as old:
        await parts.tasks.result(ResultRequest(task_id="old", format=format))
    assert waits.value.detail.code is not ErrorCode.NOT_FOUND
    assert old.value.detail.code is ErrorCode.NOT_FOUND
