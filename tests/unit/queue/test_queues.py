"""How many tasks wait and run in each queue, and who is where in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import APIError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority, TaskType

from app.runtime.errors import RequestError
from app.tasks.queue.positions import Position
from app.tasks.queue.queue_reader import TaskQueue
from app.tasks.queue.stored_message import LONGEST_RECORDING_S, StoredMessage
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts

HIGH, NORMAL, LOW = Priority
T, D = TaskType.TRANSCRIPTION, TaskType.DIARIZATION
KEY = (T, NORMAL)
SUBJECT = subjects.tasks(*KEY)
NOW = datetime.now(UTC)


async def read(parts: Parts, sample: int = 10) -> TaskQueue:
    return (await parts.queues.read(sample=sample)).by_key[KEY]


async def test_waiting_and_running_tasks_are_counted(parts: Parts) -> None:
    # Given two tasks with a grant, and three that wait
    for task_id in ("a", "b", "c", "d", "e"):
        await parts.publish(task_id)
    await parts.deliver()
    await parts.grant()
    # When the queue is read with a sample of two
    queue = await read(parts, 2)
    # Then each counts once, and the sample has the oldest waiting tasks
    assert (queue.running, queue.waiting) == (2, 3)
    assert [message.task_id for message in queue.sample] == ["c", "d"]
    assert queue.oldest == queue.sample[0].time
    # And the others are empty
    queues = await parts.queues.read(sample=0)
    assert {key for key, queue in queues.by_key.items() if queue.waiting or queue.running} == {KEY}
    assert (queues.messages, queues.limit) == ({SUBJECT: 5}, 10_000)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("12.5", 12.5),
        ("0", None),
        ("-1", None),
        ("nan", None),
        ("long", None),
        ("", None),
        ("inf", LONGEST_RECORDING_S),
        ("86401", LONGEST_RECORDING_S),
        ("1e-3", 0.001),
    ],
)
def test_the_duration_that_a_publisher_declares(written: str, seconds: float | None) -> None:
    assert StoredMessage(SUBJECT, 1, NOW, {"Natscribe-Audio-Seconds": written}).audio_seconds == seconds


def test_the_trace_of_a_message() -> None:
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    assert StoredMessage(SUBJECT, 1, NOW, {"traceparent": trace}).trace_id == "a" * 32
    assert StoredMessage(SUBJECT, 1, NOW, {}).trace_id is None


async def located(parts: Parts, *messages: StoredMessage) -> list[Position | None]:
    """The position of each message."""
    positions = await parts.positions.locate([(message.subject, message.sequence) for message in messages])
    by_sequence = {message.sequence: position for message, position in positions}
    return [by_sequence.get(message.sequence) for message in messages]


async def numbers(parts: Parts, *messages: StoredMessage) -> list[int | None]:
    return [position.number if position else None for position in await located(parts, *messages)]


async def test_each_waiting_task_has_its_number(parts: Parts) -> None:
    # Given a task with a grant, and three of another user and one of a third that wait
    granted = await parts.publish("granted")
    await parts.deliver()
    messages = [await parts.publish(task_id, user_id=8) for task_id in ("a", "b", "c")]
    messages.append(await parts.publish("d", user_id=9))
    async with parts.scheduling():
        # When they are located, then they have numbers in the order of their turns
        assert await numbers(parts, *messages) == [1, 3, 4, 2]
        # And the granted one starts at once
        assert await numbers(parts, granted) == [1]
        # And a message that is not stored has no position
        assert await parts.positions.locate([(SUBJECT, 99)]) == []
        assert await parts.positions.locate([("tasks.transcription.urgent", 1)]) == []


@pytest.mark.parametrize(("before", "seconds"), [((), 0), ((60, 60), 120), ((10, 1200), 1210), ((60, None), None)])
async def test_the_audio_of_the_tasks_before_a_task(
    parts: Parts, before: tuple[float | None, ...], seconds: float | None
) -> None:
    # Given tasks before a task
    for number, duration in enumerate(before):
        await parts.publish(f"t{number}", seconds=duration)
    last = await parts.publish("last", seconds=7200)
    # When it is located, then it is behind their audio, if all their durations are known
    async with parts.scheduling():
        assert await located(parts, last) == [Position(len(before) + 1, seconds)]


async def test_without_a_scheduler_a_message_has_no_position(parts: Parts) -> None:
    message = await parts.publish("a")
    assert await located(parts, message) == [None]
    assert [located.task_id for located, _ in await parts.positions.locate([(SUBJECT, message.sequence)])] == ["a"]


async def test_messages_missing_on_a_replica_are_read_from_the_leader(parts: Parts, nats: InMemoryNats) -> None:
    # Given two messages, of which the answering server has only one yet
    messages = [await parts.publish(task_id) for task_id in ("a", "b")]
    stream = nats.streams[NAMES.tasks]
    all_messages = list(stream.messages)

    def forget() -> None:
        stream.messages = all_messages[:1]

    def remember() -> None:
        stream.messages = all_messages

    nats.before(f"$JS.API.DIRECT.GET.{NAMES.tasks}", forget)
    nats.before("$JS.API.STREAM.MSG.GET", remember)
    # When they are searched for, then the other one is read from the leader
    located = await parts.positions.locate([(message.subject, message.sequence) for message in messages])
    assert [message.task_id for message, _ in located] == ["a", "b"]


async def test_a_message_is_deleted_only_if_it_owns_the_log(parts: Parts) -> None:
    # Given two tasks, of whose logs one says the number of the other's message
    message = await parts.publish("a")
    parts.server.ahead += timedelta(seconds=1)
    record = await parts.reaching(State.QUEUED, "b")
    wrong = replace(record, metadata=replace(record.metadata, task_sequence=message.sequence))
    # When the message of a log is removed, then only its own
    await parts.messages.remove(wrong)
    assert await parts.messages.find(None, message.sequence) is not None
    await parts.messages.remove(record)
    assert await parts.messages.find(None, record.metadata.task_sequence) is None
    # And deleting it again is no error
    await parts.messages.remove(record)
    await parts.messages.delete(message)
    await parts.messages.delete(message)


@pytest.mark.parametrize("code", [10057, 10043])
async def test_a_message_that_is_settled_while_it_is_deleted_is_no_error(
    parts: Parts, nats: InMemoryNats, code: int
) -> None:
    # Given a message that its worker settles just before NATS deletes it
    message = await parts.publish("a")
    stream = nats.streams[NAMES.tasks]

    def settle() -> None:
        stream.remove(stream.of(">"))
        raise APIError(code=400, err_code=code)

    nats.before("$JS.API.STREAM.MSG.DELETE", settle)
    # When it is deleted, then it is gone, and that is all
    await parts.messages.delete(message)
    assert stream.messages == []


async def test_a_refused_deletion_of_a_message_is_reported(parts: Parts, nats: InMemoryNats) -> None:
    message = await parts.publish("a")
    nats.streams[NAMES.tasks].config["deny_delete"] = True
    with pytest.raises(APIError):
        await parts.messages.delete(message)


async def test_messages_are_read_page_by_page_after_a_sequence(parts: Parts) -> None:
    messages = [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    first, second, third = (item.sequence for item in messages)
    assert [item.sequence for item in await parts.messages.page_after(SUBJECT, first, count=1)] == [second]
    pages = [page async for page in parts.messages.pages_after(first)]
    assert [[item.sequence for item in page] for page in pages] == [[second, third]]


async def test_the_overview_has_each_queue(parts: Parts) -> None:
    # Given tasks in two queues, of which one runs
    await parts.reaching(State.RUNNING, "running")
    await parts.deliver()
    last = await parts.reaching(State.QUEUED, "waiting")
    await parts.publish("", D, HIGH, body=b"{")
    # When an operator requests it
    overview = await parts.task_queues.read()
    # Then each queue has its numbers of waiting and running tasks
    by_key = {(status.queue, status.priority): status for status in overview.queues}
    assert len(by_key) == 9
    assert (by_key[KEY].waiting, by_key[KEY].running) == (1, 1)
    assert by_key[KEY].oldest == last.metadata.created_at
    assert by_key[D, HIGH].waiting == 1
    assert by_key[D, LOW].oldest is None
    assert overview.dead_letters == 0


async def test_without_jetstream_there_is_no_overview(parts: Parts, nats: InMemoryNats) -> None:
    nats.before("$JS.API.STREAM.INFO", NoRespondersError())
    with pytest.raises(RequestError) as refused:
        await parts.task_queues.read()
    assert refused.value.detail.code is ErrorCode.INTERNAL
