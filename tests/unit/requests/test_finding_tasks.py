"""Finds waiting tasks by id or by recording, and ends tasks that waited too long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat, ResultRequest
from natscribe.schemas.subjects import ALL_TASKS
from structlog.testing import capture_logs

from app.requests.task_lookup import find_task
from app.runtime.errors import RequestError
from app.tasks.queue.fair_queue import Quota
from app.tasks.queue.index import QueueIndex
from app.tasks.queue.quotas import exceeded
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.record import Record
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, UNREADABLE, Parts
from tests.unit.execution.test_deliveries import result

Find = Callable[[str], Awaitable[Record]]
READ = f"$JS.API.DIRECT.GET.{NAMES.tasks}"


@pytest.fixture
def index(parts: Parts, nats: InMemoryNats) -> QueueIndex:
    return QueueIndex(nats.client, NAMES, parts.messages, key=lambda message: message.task_id)


async def sequences(index: QueueIndex, key: str) -> list[int]:
    return [message.sequence for message in await index.find(key)]


async def test_the_index_finds_each_message_of_a_key(parts: Parts, index: QueueIndex) -> None:
    # Given messages, of which two have the same id and one has none
    for task_id in ("a", "b", "a"):
        await parts.publish(task_id)
    await parts.publish("", body=b"[]")
    # Then the index finds all messages of an id
    assert await sequences(index, "a") == [1, 3]
    assert await sequences(index, "c") == []
    # And later ones
    await parts.publish("c")
    assert await sequences(index, "c") == [5]


async def test_the_index_forgets_settled_messages(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    first, second = [await parts.publish("a") for _ in range(2)]
    assert await sequences(index, "a") == [1, 2]
    await parts.messages.delete(first)
    assert await sequences(index, "a") == [2]
    await parts.messages.delete(second)
    assert await sequences(index, "a") == []
    # And they are not read again
    nats.requests.clear()
    assert [message async for message in index.indexed("a")] == []
    assert nats.requests == []


async def test_a_message_is_read_once(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    await parts.publish("a")
    await index.find("b")
    nats.requests.clear()
    # When a known message is looked up, then only this message is read
    assert await sequences(index, "a") == [1]
    assert READ not in nats.requests


async def test_concurrent_lookups_share_a_read(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    await parts.publish("a")
    nats.requests.clear()
    await asyncio.gather(*(index.update() for _ in range(5)))
    assert (
        nats.requests.count(f"$JS.API.STREAM.INFO.{NAMES.tasks}") == 2
    )  # the running read, and one that started later


async def test_a_failed_read_is_repeated_by_the_next_lookup(
    parts: Parts, nats: InMemoryNats, index: QueueIndex
) -> None:
    # Given two concurrent lookups, of which the first gets no reply
    await parts.publish("a")
    nats.before("$JS.API.STREAM.INFO", NatsTimeoutError())
    outcomes = await asyncio.gather(index.find("a"), index.find("a"), return_exceptions=True)
    # Then the second reads again
    assert isinstance(outcomes[0], NatsTimeoutError)
    assert not isinstance(outcomes[1], BaseException)
    assert [message.sequence for message in outcomes[1]] == [1]


async def test_a_recreated_stream_is_read_from_its_start(parts: Parts, nats: InMemoryNats, index: QueueIndex) -> None:
    # Given a stream that was deleted and recreated
    for task_id in ("a", "b"):
        await parts.publish(task_id)
    assert await sequences(index, "b") == [2]
    await nats.jetstream().delete_stream(NAMES.tasks)
    await parts.stream_guard.check()
    await parts.publish("b")
    # Then the index has the new sequence
    assert await sequences(index, "b") == [1]


@pytest.mark.parametrize(("spare", "again"), [(0, True), (1, False)])
async def test_when_most_messages_are_settled_the_index_is_rebuilt(
    parts: Parts,
    nats: InMemoryNats,
    index: QueueIndex,
    constants: Constants,
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    again: bool,
) -> None:
    # Given three indexed messages of which one is left
    constants(SPARE=spare)
    messages = [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    await index.update()
    for message in messages[:2]:
        await nats.jetstream().delete_msg(NAMES.tasks, message.sequence)
    read: list[int] = []
    pages_after = parts.messages.pages_after

    def recorded(sequence: int) -> AsyncIterator[list[StoredMessage]]:
        read.append(sequence)
        return pages_after(sequence)

    monkeypatch.setattr(parts.messages, "pages_after", recorded)
    # Then the next read starts at the beginning if many messages are settled
    await index.update()
    assert read == [0 if again else 3]


@pytest.fixture
def find(parts: Parts, index: QueueIndex) -> Find:
    return partial(find_task, parts.log, index, parts.registration)


async def test_a_task_is_found_before_its_registration(parts: Parts, find: Find) -> None:
    await parts.publish("t1")
    record = await find("t1")
    assert record.event.state is State.QUEUED
    assert await find("t1") == record
    with pytest.raises(RequestError, match="No task t2 is known"):
        await find("t2")


async def test_a_message_that_is_no_task_is_an_error(parts: Parts, find: Find) -> None:
    await parts.publish("", body=b'{"task_id": "t1"}')
    with pytest.raises(RequestError, match="no valid transcription task") as refused:
        await find("t1")
    assert refused.value.detail.code is ErrorCode.INVALID_MESSAGE


async def test_a_task_that_cannot_be_registered_now_is_an_error(
    parts: Parts, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        """Register nothing."""

    monkeypatch.setattr(parts.registration, "register_waiting", nothing)
    await parts.publish("t1")
    with pytest.raises(RequestError, match="could not register it now"):
        await find("t1")


async def test_a_queue_that_cannot_be_read_in_time_makes_no_task_unknown(
    parts: Parts, index: QueueIndex, find: Find, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stored task, and a stream that returns no pages in time
    constants(READ_WITHIN_S=0.01)
    monkeypatch.setattr(index, "find", lambda _: asyncio.Event().wait())
    await parts.publish("t1")
    # When it is searched for, then the service does not know, and says so
    with pytest.raises(RequestError, match="No task t1 was found within") as refused:
        await find("t1")
    assert refused.value.detail.code is ErrorCode.INTERNAL


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
async def test_a_task_that_waits_too_long_fails(
    parts: Parts, nats: InMemoryNats, age: timedelta, state: State, ends_as: State
) -> None:
    # Given a task of some age, behind one that is no task
    await parts.publish("", body=b"{")
    await parts.reaching(state, "t1")
    nats.ahead += age
    await parts.publish("young")
    # When the queues are checked
    await parts.expiry.expire(after=DAY)
    # Then the task fails if it still waits, with a dead letter
    last = await parts.last()
    assert last.event.state is ends_as
    expired = ends_as is State.FAILED
    assert len(nats.streams[NAMES.dead_letters].messages) == expired
    assert (await parts.messages.find(None, 2) is None) is expired
    assert last.event.error is None or last.event.error.code is ErrorCode.EXPIRED


async def test_a_waiting_task_beyond_a_quota_fails_and_a_running_one_does_not(parts: Parts, nats: InMemoryNats) -> None:
    # Given a waiting task, a scheduled one, and a running one
    await parts.reaching(State.QUEUED, "waits")
    await parts.reaching(State.QUEUED, "scheduled", not_before=(datetime.now(UTC) + DAY).isoformat())
    await parts.reaching(State.RUNNING, "runs")
    error = exceeded(Quota(max_waiting=3))
    # When the quota of their user is exceeded
    (messages,) = [page async for page in parts.messages.pages_after(0)]
    assert [await parts.expiry.fail(message, error) for message in messages] == [True, True, False]
    # Then those that wait have failed with the limit, which is nothing for an operator; the other one continues
    for task_id in ("waits", "scheduled"):
        last = await parts.last(task_id)
        assert (last.event.state, last.event.error) == (State.FAILED, error)
    assert "allows (3)" in error.message
    assert nats.streams[NAMES.dead_letters].messages == []
    assert [message.task_id for message in await parts.messages.page_after(ALL_TASKS, 0, count=9)] == ["runs"]


async def test_a_scheduled_task_expires_only_after_its_time(parts: Parts, nats: InMemoryNats) -> None:
    async def events_after(age: timedelta) -> list[State]:
        nats.ahead = age
        await parts.expiry.expire(after=DAY)
        records = nats.streams[NAMES.progress].messages
        return [ProgressEvent.model_validate_json(record.body).state for record in records]

    # Given a task that is scheduled for a time after which others, stored now, would have expired
    nats.ahead = timedelta()
    message = await parts.publish("t1", not_before=(datetime.now(UTC) + 2 * DAY).isoformat())
    await parts.register(message)
    # Then it waits, and its event is repeated before it expires
    assert await events_after(DAY / 2) == [State.SCHEDULED]
    assert await events_after(DAY) == 2 * [State.SCHEDULED]
    # And it expires when it has waited for too long from then on
    assert await events_after(3 * DAY - timedelta(minutes=1)) == 2 * [State.SCHEDULED]
    assert await events_after(3 * DAY + timedelta(minutes=1)) == [State.SCHEDULED, State.SCHEDULED, State.FAILED]


async def test_a_task_that_starts_while_it_expires_continues(
    parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that has waited too long, and a worker that starts it at the same time
    await parts.reaching(State.QUEUED, "t1")
    nats.ahead += DAY
    end = parts.log.end

    async def late(last: Record, error: ErrorDetail | None = None) -> Record:
        await parts.advance(last, State.RUNNING, attempt=1)
        return await end(last, error)

    monkeypatch.setattr(parts.log, "end", late)
    # When the check continues
    await parts.expiry.expire(after=DAY)
    # Then the task runs, and its message stays
    last = await parts.last()
    assert last.event.state is State.RUNNING
    assert len(nats.streams[NAMES.tasks].messages) == 1
    assert nats.streams[NAMES.dead_letters].messages == []


async def test_many_expired_tasks_are_read_in_batches(parts: Parts, nats: InMemoryNats) -> None:
    for number in range(45):
        await parts.publish(f"t{number}")
    nats.ahead += DAY
    with capture_logs() as lines:
        await parts.expiry.expire(after=DAY)
    assert nats.streams[NAMES.tasks].messages == []
    assert len({line["task_id"] for line in lines if line["event"] == "task_expired"}) == 45
    assert len(nats.streams[NAMES.dead_letters].messages) == 45


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_only_a_waiting_task_has_a_position(parts: Parts, state: State) -> None:
    await parts.reaching(state, "t1")
    async with parts.scheduling():
        status = await parts.tasks.status("t1")
    assert (status.state, status.queue_position) == (state, 1 if state is State.QUEUED else None)


@pytest.mark.parametrize(
    ("state", "ends_as", "is_stored"),
    [
        (State.QUEUED, State.CANCELLED, False),
        (State.RUNNING, State.CANCELLED, False),
        (State.COMPLETED, State.COMPLETED, True),
        (State.FAILED, State.FAILED, True),
    ],
)
async def test_a_cancel_ends_a_task_that_has_not_ended(
    parts: Parts, state: State, ends_as: State, is_stored: bool
) -> None:
    record = await parts.reaching(state, "t1")
    assert (await parts.tasks.cancel("t1")).state is ends_as
    message = await parts.messages.find(None, record.metadata.task_sequence)
    assert (message is not None) is is_stored  # its worker settles it


async def test_a_cancel_after_a_decided_failure_leaves_the_message(parts: Parts) -> None:
    # Given a worker that has decided that its task fails
    record = await parts.reaching(State.RUNNING, "t1")
    await parts.log.forbid_result(record, UNREADABLE)
    # When the task is cancelled, then it has failed, and its message stays for its dead letter
    status = await parts.tasks.cancel("t1")
    assert (status.state, status.error) == (State.FAILED, UNREADABLE)
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
async def test_a_missing_result_is_an_error_with_its_reason(parts: Parts, format: ResultFormat) -> None:  # noqa: A002
    # Given a waiting task, and one whose result has expired
    await parts.reaching(State.QUEUED, "waits")
    await parts.reaching(State.COMPLETED, "old")
    # When their results are requested, then the errors have the reasons
    with pytest.raises(RequestError) as waits:
        await parts.tasks.result(ResultRequest(task_id="waits", format=format))
    with pytest.raises(RequestError, match="has expired") as old:
        await parts.tasks.result(ResultRequest(task_id="old", format=format))
    assert waits.value.detail.code is not ErrorCode.NOT_FOUND
    assert old.value.detail.code is ErrorCode.NOT_FOUND
