"""How many tasks wait and run in each queue, who is where in it, and when it will be served."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.errors import NoRespondersError
from nats.js.errors import APIError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.wire import Lane, Priority

from app.errors import RequestError
from app.queue.positions import Position
from app.queue.queue_reader import TaskQueue
from app.queue.stored_message import LONGEST_RECORDING_S, StoredMessage
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts

HIGH, NORMAL, LOW = Priority
T, D = Lane.TRANSCRIPTION, Lane.DIARIZATION
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


async def test_a_running_task_with_an_unreadable_log_has_no_end(parts: Parts, nats: InMemoryNats) -> None:
    await parts.publish("t1")
    await parts.deliver()
    nats.streams[NAMES.progress].publish("append.progress.t1", b"{", {}, NOW)
    queue = await read(parts)
    assert (queue.running, queue.ends) == (1, ())


@pytest.mark.parametrize(
    ("eta", "is_speed_known", "seconds", "expected"),
    [(90.0, False, None, 90.0), (90.0, True, 60.0, 90.0), (None, True, 60.0, 30.0), (None, False, 60.0, None)],
    ids=["as its worker says", "rather than the speed", "by the speed", "unknown"],
)
async def test_when_running_tasks_end(
    parts: Parts, eta: float | None, is_speed_known: bool, seconds: float | None, expected: float | None
) -> None:
    # Given a running task, of whose worker the speed is known or not
    if is_speed_known:
        parts.queues.speed.note(T, audio_seconds=100, seconds=50)
    message = await parts.publish("t1", seconds=seconds)
    record = await parts.register(message)
    running = await parts.advance(record, State.RUNNING, attempt=1, eta_seconds=eta)
    await parts.deliver()
    # When the queue is read, then the end is expected so long after its last event
    ends = (await read(parts)).ends
    assert ends == (None if expected is None else running.event.time + timedelta(seconds=expected),)
    queues = await parts.queues.read(sample=0)
    assert queues.ends == (None if expected is None else list(ends))


async def test_a_granted_task_that_is_about_to_start_ends_after_its_duration(parts: Parts) -> None:
    # Given a worker that takes half a second for a second of audio, and a task with a grant that has not started yet
    parts.queues.speed.note(T, audio_seconds=100, seconds=50)
    await parts.register(await parts.publish("t1", seconds=60))
    await parts.grant()
    # When the queue is read, then the task is expected to end as if it started now
    (end,) = (await read(parts)).ends
    assert end is not None
    assert (end - datetime.now(UTC)).total_seconds() == pytest.approx(30, abs=5)


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


@pytest.mark.parametrize(("queue", "idle", "is_known"), [(T, True, True), (T, False, False), (Lane.LIVE, True, False)])
async def test_an_idle_worker_starts_the_first_task_at_once(
    parts: Parts, queue: Lane, idle: bool, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker of unknown speed, and a task that another one runs
    monkeypatch.setattr(type(parts.slots), "idle", idle)
    await parts.reaching(State.RUNNING, "running")
    await parts.deliver()
    messages = [await parts.publish("", queue, body=body) for body in (b"a", b"b")]
    # When two tasks wait, then the first is expected now if this worker is idle, which runs tasks of recordings only
    async with parts.scheduling():
        positions = [position for position in await located(parts, *messages) if position]
    assert [position.number for position in positions] == [1, 2]
    assert (positions[0].expected_start is not None) is is_known
    # And the start of the second is unknown
    assert positions[1].expected_start is None


async def start_in_seconds(parts: Parts, message: StoredMessage) -> float | None:
    """In how many seconds a task is expected to start."""
    async with parts.scheduling():
        (position,) = await located(parts, message)
    start = position and position.expected_start
    return (start - datetime.now(UTC)).total_seconds() if start else None


async def test_a_task_is_expected_when_the_running_one_has_ended(parts: Parts) -> None:
    # Given a task that needs a minute more
    running = await parts.reaching(State.RUNNING, "running")
    await parts.advance(running, State.RUNNING, eta_seconds=60.0)
    await parts.deliver()
    # When another one waits behind it, then it starts then
    assert await start_in_seconds(parts, await parts.publish("a")) == pytest.approx(60, abs=10)


@pytest.mark.parametrize(("before", "seconds"), [((60, 60), 60), ((10, 1200), 605), ((60, None), None)])
async def test_the_start_is_expected_after_the_work_before(
    parts: Parts, before: tuple[float | None, ...], seconds: float | None
) -> None:
    # Given tasks before a task, and a worker that takes half a second for a second of audio
    parts.queues.speed.note(T, audio_seconds=2, seconds=1)
    for number, duration in enumerate(before):
        await parts.publish(f"t{number}", seconds=duration)
    # When it is located, then it starts after them, if all their durations are known
    expected = None if seconds is None else pytest.approx(seconds, abs=10)
    assert await start_in_seconds(parts, await parts.publish("last", seconds=7200)) == expected


@pytest.mark.parametrize(("max_age", "readings"), [(60.0, 1), (0.0, 3)])
async def test_the_state_of_the_queues_is_cached(
    parts: Parts, nats: InMemoryNats, constants: Constants, max_age: float, readings: int
) -> None:
    constants(STATE_MAX_AGE_S=max_age)
    message = await parts.publish("a")
    async with parts.scheduling():
        nats.requests.clear()
        for _ in range(3):
            await numbers(parts, message)
    assert nats.requests.count(f"$JS.API.STREAM.INFO.{NAMES.tasks}") == readings


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


@pytest.mark.parametrize(
    ("state", "waits_until", "number", "start"),
    [
        (State.QUEUED, None, 3, NOW),
        (State.RETRYING, None, None, NOW),
        (State.RETRYING, NOW + timedelta(1), None, NOW + timedelta(1)),
        (State.RETRYING, NOW - timedelta(1), None, NOW),
    ],
)
async def test_a_status_contains_the_position(
    parts: Parts, state: State, waits_until: datetime | None, number: int | None, start: datetime
) -> None:
    status: TaskStatus = (await parts.reaching(State.QUEUED, "t1")).status
    with_position = Position(3, NOW).added_to(status.model_copy(update={"state": state, "expected_start": waits_until}))
    assert (with_position.queue_position, with_position.expected_start) == (number, start)


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
    # Then each queue has its numbers of waiting and running tasks, and the expected start of the last one
    by_key = {(status.queue, status.priority): status for status in overview.queues}
    assert len(by_key) == 9
    assert (by_key[KEY].waiting, by_key[KEY].running) == (1, 1)
    assert by_key[KEY].oldest == last.metadata.created_at
    assert by_key[D, HIGH].waiting == 1
    assert by_key[D, HIGH].newest_start is None
    assert by_key[D, LOW].oldest is None
    assert overview.dead_letters == 0


async def test_without_jetstream_there_is_no_overview(parts: Parts, nats: InMemoryNats) -> None:
    nats.before("$JS.API.STREAM.INFO", NoRespondersError())
    with pytest.raises(RequestError) as refused:
        await parts.task_queues.read()
    assert refused.value.detail.code is ErrorCode.INTERNAL
