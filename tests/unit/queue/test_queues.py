"""How many tasks wait and run in each queue, who is where in it, and when it will be served."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.wire import Lane, Priority

from app.errors import RequestError
from app.queue.positions import Position
from app.queue.priorities import TaskQueue, TaskQueues
from app.queue.speed import Speed
from app.queue.stored_message import LONGEST_RECORDING_S, StoredMessage
from app.task_log.status import status_of
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts

HIGH, NORMAL, LOW = Priority
T, D = Lane.TRANSCRIPTION, Lane.DIARIZATION
KEY = (T, NORMAL)
SUBJECT = subjects.tasks(*KEY)
NOW = datetime.now(UTC)
DIRECT, ONE = "$JS.API.DIRECT.GET", "$JS.API.STREAM.MSG.GET"


async def read(parts: Parts, sample: int = 10) -> TaskQueue:
    return (await parts.queues.read(sample=sample)).by_key[KEY]


async def test_waiting_running_and_redelivered_tasks_are_counted(parts: Parts) -> None:
    # Given one task that runs, one that a worker has returned before it had a log, and three that nobody has had
    await parts.reaching(State.RUNNING, "running")
    await parts.publish("returned")
    for task_id in ("a", "b", "c"):
        await parts.publish(task_id)
    await parts.deliver()
    await parts.deliver()
    # When the queue is read with a sample of two
    queue = await read(parts, 2)
    # Then each counts once, and the sample begins with the first that nobody has had
    assert (queue.undelivered, queue.running, queue.waiting) == (3, 1, 4)
    assert [each.task_id for each in queue.redelivered] == ["returned"]
    assert [each.task_id for each in queue.sample] == ["a", "b"]
    assert queue.oldest == queue.redelivered[0].time
    # And the others are empty
    queues = await parts.queues.read(sample=0)
    assert {key for key, each in queues.by_key.items() if each.waiting or each.running} == {KEY}
    assert (queues.messages, queues.limit) == ({SUBJECT: 5}, 10_000)


@pytest.mark.parametrize(
    ("state", "fields", "waits"),
    [
        (State.QUEUED, {}, True),
        (State.RUNNING, {}, False),
        (State.RETRYING, {"retry_at": NOW - timedelta(seconds=1)}, True),
        (State.RETRYING, {"retry_at": NOW + timedelta(hours=1)}, False),
        (State.RETRYING, {}, False),
    ],
)
async def test_a_delivered_message_waits_while_its_task_does(
    parts: Parts, state: State, fields: dict[str, object], waits: bool
) -> None:
    # Given a task whose message a worker has had
    record = await parts.reaching(State.QUEUED, "t1")
    await parts.deliver()
    if state is not State.QUEUED:
        await parts.advance(record, state, **fields)
    # When its queue is read, then it waits or runs
    queue = await read(parts)
    assert (len(queue.redelivered), queue.running) == ((1, 0) if waits else (0, 1))


async def test_a_task_with_an_unreadable_log_does_not_count_as_waiting(parts: Parts, nats: InMemoryNats) -> None:
    await parts.publish("t1")
    await parts.deliver()
    nats.streams[NAMES.progress].publish("append.progress.t1", b"{", {}, NOW)
    queue = await read(parts)
    assert (queue.redelivered, queue.running, queue.ends) == ((), 1, ())


@pytest.mark.parametrize(
    ("eta", "known_speed", "seconds", "expected"),
    [(90.0, False, None, 90.0), (90.0, True, 60.0, 90.0), (None, True, 60.0, 30.0), (None, False, 60.0, None)],
    ids=["as its worker says", "rather than the speed", "by the speed", "unknown"],
)
async def test_when_running_tasks_end(
    parts: Parts, eta: float | None, known_speed: bool, seconds: float | None, expected: float | None
) -> None:
    # Given a running task, of whose worker the speed is known or not
    if known_speed:
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


def queue_of(*lengths: float | None, redelivered: int = 0) -> TaskQueue:
    messages = tuple(
        StoredMessage(SUBJECT, number, NOW, {} if each is None else {"Natscribe-Audio-Seconds": str(each)})
        for number, each in enumerate(lengths, 1)
    )
    again, new = messages[:redelivered], messages[redelivered:]
    return TaskQueue(T, NORMAL, len(new), again, 0, (), new)


@pytest.mark.parametrize(
    ("lengths", "count", "work"),
    [
        ((), 0, 0.0),
        ((), 1, None),
        ((10.0, 30.0), 0, 0.0),
        ((10.0, 30.0), 1, 5.0),
        ((10.0, 30.0), 2, 20.0),
        ((10.0, 30.0), 4, 40.0),  # the rest is as long as those that were read
        ((10.0, None), 1, 5.0),
        ((10.0, None), 2, None),
    ],
)
def test_the_work_on_the_first_tasks(lengths: tuple[float | None, ...], count: int, work: float | None) -> None:
    # Given a worker that takes half a second for a second of sound
    speed = Speed()
    speed.note(T, audio_seconds=2, seconds=1)
    assert queue_of(*lengths, redelivered=1).work_on(count, speed) == work
    # And the work on several queues is known if each is
    queues = TaskQueues({KEY: queue_of(*lengths), (T, HIGH): queue_of(4.0)}, {}, 0)
    both = queues.work_on({KEY: count, (T, HIGH): 1}, speed)
    assert both == (None if work is None else work + 2)


def test_an_empty_queue_has_no_oldest_task() -> None:
    assert queue_of().oldest is None


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


async def numbers(parts: Parts, *messages: StoredMessage) -> list[int | None]:
    """The position of each message, as it is found."""
    found = await parts.positions.locate(SUBJECT, [each.sequence for each in messages])
    by_sequence = {message.sequence: position for message, position in found}
    return [
        position.number if position else None for position in map(by_sequence.get, [each.sequence for each in messages])
    ]


async def test_each_waiting_task_has_its_number(parts: Parts) -> None:
    # Given a task that waits again, a running one, and three that nobody has had
    messages = [await parts.publish("again")]
    await parts.reaching(State.RUNNING, "running")
    first = await parts.messages.find(SUBJECT, 2)
    messages += [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    await parts.deliver()
    await parts.deliver()
    # When they are looked for, then they have numbers in the order of their service
    assert first is not None
    assert await numbers(parts, *messages) == [1, 2, 3, 4]
    # And the one that runs begins at once
    assert await numbers(parts, first) == [1]
    # And what is not there is not found
    assert await parts.positions.locate(SUBJECT, [99]) == []
    assert await parts.positions.locate("tasks.transcription.urgent", [1]) == []


async def test_redelivered_tasks_have_positions_in_their_order(parts: Parts) -> None:
    messages = [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    for _ in messages:
        await parts.deliver()
    assert await numbers(parts, *messages) == [1, 2, 3]


async def test_more_urgent_queues_are_served_before(parts: Parts) -> None:
    message = await parts.publish("low", priority=LOW)
    for number in range(3):
        await parts.publish(f"high{number}", priority=HIGH)
    ((_, position),) = await parts.positions.locate(subjects.tasks(T, LOW), [message.sequence])
    assert position is not None
    assert position.number == 4


@pytest.mark.parametrize(("queue", "idle", "known"), [(T, True, True), (T, False, False), (Lane.LIVE, True, False)])
async def test_an_idle_worker_starts_the_first_task_at_once(
    parts: Parts, queue: Lane, idle: bool, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker, of whose speed nothing is known, and a task that another one runs
    monkeypatch.setattr(type(parts.consumer), "idle", idle)
    await parts.reaching(State.RUNNING, "running")
    await parts.deliver()
    sequences = [(await parts.publish("", queue, body=body)).sequence for body in (b"a", b"b")]
    # When two tasks wait, then the first begins now if this worker has nothing to do, which takes only recordings
    found = [at for _, at in await parts.positions.locate(subjects.tasks(queue, NORMAL), sequences) if at is not None]
    assert [at.number for at in found] == [1, 2]
    assert (found[0].expected_start is not None) is known
    # And of the second, nobody knows
    assert found[1].expected_start is None


async def test_a_task_is_expected_when_the_running_one_has_ended(parts: Parts) -> None:
    # Given a task that needs a minute more
    running = await parts.reaching(State.RUNNING, "running")
    await parts.advance(running, State.RUNNING, eta_seconds=60.0)
    await parts.deliver()
    message = await parts.publish("a")
    # When another one waits behind it, then it starts then
    ((_, position),) = await parts.positions.locate(SUBJECT, [message.sequence])
    assert position is not None
    assert position.expected_start is not None
    assert 50 < (position.expected_start - datetime.now(UTC)).total_seconds() <= 60


async def test_the_start_is_expected_after_the_work_before(parts: Parts) -> None:
    # Given tasks of a minute each, and a worker that takes half a second for a second of sound
    parts.queues.speed.note(T, audio_seconds=2, seconds=1)
    messages = [await parts.publish(task_id, seconds=60) for task_id in ("a", "b", "c")]
    # When the third is looked for
    ((_, position),) = await parts.positions.locate(SUBJECT, [messages[-1].sequence])
    # Then it starts after the other two
    assert position is not None
    assert position.expected_start is not None
    assert timedelta(seconds=50) < position.expected_start - datetime.now(UTC) <= timedelta(seconds=60)


@pytest.mark.parametrize(("kept", "readings"), [(60.0, 1), (0.0, 3)])
async def test_the_state_of_the_queues_is_cached(
    parts: Parts, nats: InMemoryNats, constants: Constants, kept: float, readings: int
) -> None:
    constants(STATE_MAX_AGE_S=kept)
    message = await parts.publish("a")
    nats.asked.clear()
    for _ in range(3):
        await numbers(parts, message)
    assert nats.asked.count(f"$JS.API.STREAM.INFO.{NAMES.tasks}") == readings


@pytest.mark.parametrize("known_before", [False, True])
async def test_without_the_state_of_the_queues_a_message_has_no_position(
    parts: Parts, nats: InMemoryNats, known_before: bool
) -> None:
    # Given a server that does not tell the state of the consumer, nor of the queues if nobody has just asked
    message = await parts.publish("a")
    if known_before:
        await numbers(parts, message)
    nats.before("$JS.API.CONSUMER.INFO", *[NatsTimeoutError()] * 2)
    # When the message is looked for, then it is found all the same
    assert await numbers(parts, message) == [None]


async def test_a_message_missing_on_a_replica_is_read_from_the_leader(parts: Parts, nats: InMemoryNats) -> None:
    # Given a message that the answering server does not have yet
    message = await parts.publish("a")
    stream = nats.streams[NAMES.tasks]
    known = list(stream.messages)

    def forget() -> None:
        stream.messages = []

    def remember() -> None:
        stream.messages = known

    nats.before(f"{DIRECT}.{NAMES.tasks}", forget)
    nats.before(ONE, remember)
    # When it is looked for, then the leader is asked
    ((found, position),) = await parts.positions.locate(SUBJECT, [message.sequence])
    assert (found.task_id, position) == ("a", None)


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
    status: TaskStatus = status_of(await parts.reaching(State.QUEUED, "t1"))
    told = Position(3, NOW).added_to(status.model_copy(update={"state": state, "expected_start": waits_until}))
    assert (told.queue_position, told.expected_start) == (number, start)


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
    # And doing so again is no error
    await parts.messages.remove(record)
    await parts.messages.delete(record.metadata.task_sequence)


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
    await parts.messages.delete(message.sequence)
    assert stream.messages == []


async def test_a_refused_deletion_of_a_message_is_reported(parts: Parts, nats: InMemoryNats) -> None:
    message = await parts.publish("a")
    nats.streams[NAMES.tasks].config["deny_delete"] = True
    with pytest.raises(APIError):
        await parts.messages.delete(message.sequence)


async def test_messages_are_read_page_by_page_after_a_sequence(parts: Parts) -> None:
    messages = [await parts.publish(task_id) for task_id in ("a", "b", "c")]
    first, second, third = (each.sequence for each in messages)
    assert [each.sequence for each in await parts.messages.page_after(SUBJECT, first, count=1)] == [second]
    pages = [page async for page in parts.messages.pages_after(first)]
    assert [[each.sequence for each in page] for page in pages] == [[second, third]]


async def test_the_overview_has_each_queue(parts: Parts) -> None:
    # Given tasks in two queues, of which one runs
    await parts.reaching(State.RUNNING, "running")
    await parts.deliver()
    last = await parts.reaching(State.QUEUED, "waiting")
    await parts.publish("", D, HIGH, body=b"{")
    # When an operator asks
    overview = await parts.task_queues.read()
    # Then each queue says what waits and runs, and when the last one begins
    by_key = {(each.queue, each.priority): each for each in overview.queues}
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
