"""A task is registered once, whichever of several ways comes first, and for the message that owns its id."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import TranscriptionTask

from app.runtime.cancellation import cancel_all
from app.runtime.errors import MessageGoneError, ObsoleteMessageError, TransientError
from app.tasks.queue.positions import Position, Positions
from app.tasks.queue.registration import Announcement, Registration
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.task_log.record import Metadata, Record
from tests.constants import Constants
from tests.fakes.task_log import InMemoryTaskLog
from tests.waiting import eventually

QUEUE = "tasks.transcription.normal"
TASK = TranscriptionTask(task_id="t1", audio_file_id="a.wav", user_id=1)
STORED_AT = datetime.now(UTC) - timedelta(minutes=1)
ANNOUNCED = Announcement("t1", QUEUE, 1)


def message(task: TranscriptionTask = TASK, replay_of: str | None = None) -> StoredMessage:
    headers = {REPLAY_OF: replay_of} if replay_of else {}
    return StoredMessage(QUEUE, 1, STORED_AT, headers, task.model_dump_json().encode())


class FakeWaiting:
    """Task messages and positions of a queue with one message, and perhaps earlier ones."""

    def __init__(self) -> None:
        self.message: StoredMessage | None = message()
        self.earlier: list[StoredMessage] = []

    async def find(self, _: str, sequence: int) -> StoredMessage | None:
        messages = [self.message, *self.earlier]
        return next((message for message in messages if message is not None and message.sequence == sequence), None)

    async def is_due(self, message: StoredMessage) -> bool:
        return message.due_at <= max(message.time, datetime.now(UTC))

    async def locate(self, _: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position | None]]:
        return [(self.message, Position(3, 90.0))] if self.message else []


@pytest.fixture
def log() -> InMemoryTaskLog:
    return InMemoryTaskLog()


@pytest.fixture
def waiting() -> FakeWaiting:
    return FakeWaiting()


@pytest.fixture
def deleted() -> list[str]:
    """The tasks that were removed from Redis."""
    return []


@pytest.fixture
def registration(log: InMemoryTaskLog, waiting: FakeWaiting, deleted: list[str]) -> Registration:
    async def delete_keys(last: Record) -> None:
        deleted.append(last.event.task_id)

    positions = cast("Positions", waiting)
    return Registration(log, cast("TaskMessages", waiting), positions, max_attempts=4, delete_keys=delete_keys)


async def test_a_task_is_registered_once_though_it_is_announced_and_taken_in_one_moment(
    registration: Registration, log: InMemoryTaskLog
) -> None:
    # Given a task whose registration is stored, and not acknowledged yet
    log.progress_stream.acknowledges.clear()
    ahead = asyncio.create_task(registration.register_waiting([ANNOUNCED]))
    await log.progress_stream.stored.wait()
    # When its message is taken, then its record is found
    record = await registration.register(TASK, message())
    assert (record.event.state, record.event.queue_position) == (State.QUEUED, 3)
    assert record.event.seconds_ahead == 90.0
    # And nothing is appended a second time
    log.progress_stream.acknowledges.set()
    await ahead
    assert len(log.events("t1")) == 1


async def test_a_worker_that_registers_second_returns_the_record_of_the_first(
    registration: Registration, log: InMemoryTaskLog
) -> None:
    # Given a message that was stored a moment ago, and another worker that has begun its task
    new = replace(message(), time=datetime.now(UTC) + timedelta(minutes=1))
    queued = await registration.register(TASK, new)
    begun = queued.event.model_copy(update={"state": State.RUNNING, "sequence": 2})
    await log.of("another").push(begun, queued.metadata)
    # When this worker registers it, too, then it reads the state of the task
    assert (await registration.register(TASK, new)).event.state is State.RUNNING
    assert len(log.events("t1")) == 2


async def test_a_scheduled_task_is_queued_when_it_is_due(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    # Given an announced task that may not start yet
    due_at = datetime.now(UTC) + timedelta(seconds=0.3)
    waiting.message = scheduled = message(TASK.model_copy(update={"not_before": due_at}))
    await registration.register_waiting([ANNOUNCED])
    # Then its log states when it is due, and no position
    (event,) = log.events("t1")
    assert (event.state, event.not_before, event.queue_position) == (State.SCHEDULED, due_at, None)
    # And when it is announced again, nothing changes before that time
    await registration.register_waiting([ANNOUNCED])
    assert len(log.events("t1")) == 1
    # And afterwards it is queued once
    await eventually(lambda: scheduled.due_at < datetime.now(UTC), within=5)
    await registration.register_waiting([ANNOUNCED])
    await registration.register_waiting([ANNOUNCED])
    _, queued = log.events("t1")
    assert (queued.state, queued.not_before, queued.queue_position) == (State.QUEUED, None, 3)


async def test_a_time_in_the_past_means_now(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    waiting.message = message(TASK.model_copy(update={"not_before": STORED_AT - timedelta(days=9)}))
    assert waiting.message.due_at == STORED_AT
    await registration.register_waiting([ANNOUNCED])
    assert [event.state for event in log.events("t1")] == [State.QUEUED]


async def test_a_delivered_task_is_not_registered_again(registration: Registration, log: InMemoryTaskLog) -> None:
    # Given a message that was taken, when it is announced late
    await registration.register(TASK, message())
    await registration.register_waiting([ANNOUNCED])
    # Then nothing is appended
    assert len(log.events("t1")) == 1


async def test_a_task_that_was_deleted_is_not_registered(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting, deleted: list[str]
) -> None:
    # Given a message that a worker has taken, and whose task was deleted in that moment
    waiting.message = None
    with pytest.raises(MessageGoneError):
        await registration.register(TASK, message())
    # And another worker that receives it only now registers nothing either
    await registration.register_waiting([ANNOUNCED])
    assert await log.last("t1") is None
    assert deleted == []  # it never was there


@pytest.mark.parametrize("taken", [False, True])
async def test_a_task_that_is_deleted_just_before_its_registration_does_not_come_back(
    registration: Registration,
    log: InMemoryTaskLog,
    waiting: FakeWaiting,
    deleted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    taken: bool,
) -> None:
    # Given a task that waits or was just taken, and that is deleted after its message was read
    append = log.append

    async def append_late(event: ProgressEvent, metadata: Metadata, *, after: int) -> Record:
        waiting.message = None
        return await append(event, metadata, after=after)

    monkeypatch.setattr(log, "append", append_late)
    # When it is registered
    if taken:
        with pytest.raises(MessageGoneError):
            await registration.register(TASK, replace(message(), time=datetime.now(UTC) + timedelta(minutes=1)))
    else:
        await registration.register_waiting([ANNOUNCED])
    # Then nothing is left of it, neither in its log nor in Redis
    assert log.events("t1") == []
    assert deleted == ["t1"]


async def test_a_task_that_completes_just_after_its_registration_stays(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting, deleted: list[str]
) -> None:
    # Given a task whose registration is stored, and not acknowledged yet
    log.progress_stream.acknowledges.clear()
    ahead = asyncio.create_task(registration.register_waiting([ANNOUNCED]))
    await log.progress_stream.stored.wait()
    # When another worker does it and settles its message in that moment
    log.progress_stream.acknowledges.set()
    queued = await log.last("t1")
    assert queued is not None
    done = queued.event.model_copy(update={"state": State.COMPLETED, "sequence": 2})
    await log.of("another").push(done, queued.metadata)
    waiting.message = None
    await ahead
    # Then its log stays
    assert [event.state for event in log.events("t1")] == [State.QUEUED, State.COMPLETED]
    assert deleted == []


async def test_only_stored_messages_are_registered(registration: Registration, log: InMemoryTaskLog) -> None:
    # When a client announces a message under another task's id, and others announce it twice
    await registration.register_waiting([Announcement("forged", QUEUE, 1), ANNOUNCED, ANNOUNCED])
    # Then the task of the stored message is registered, and no other
    last = await log.last("t1")
    assert last is not None
    assert (last.metadata.task, last.event.sequence) == (TASK, 1)
    assert await log.last("forged") is None


async def test_an_id_belongs_to_the_message_that_was_registered_first(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    # Given a registered task
    first = message()
    record = await registration.register(TASK, first)
    # When a second message with its id waits or is taken, then nothing is appended
    waiting.message = second = StoredMessage(QUEUE, 2, datetime.now(UTC) - timedelta(seconds=1), {}, first.body)
    waiting.earlier = [first]
    await registration.register_waiting([Announcement("t1", QUEUE, 2)])
    with pytest.raises(ObsoleteMessageError):
        await registration.register(TASK, second)
    # And the first one owns the id still
    assert (await registration.register(TASK, first)).stream_sequence == record.stream_sequence
    assert len(log.events("t1")) == 1


@pytest.mark.parametrize(("same", "ended"), [(True, False), (False, False), (True, True)])
async def test_a_task_whose_message_is_lost_belongs_to_the_next_message_of_the_same_task(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting, same: bool, ended: bool
) -> None:
    # Given a registered task whose message was lost with the task stream
    record = await registration.register(TASK, message())
    if ended:
        completed = record.event.model_copy(update={"state": State.COMPLETED, "sequence": 2})
        record = await log.push(completed, record.metadata)
    body = TASK.model_copy(update={"user_id": TASK.user_id if same else 99})
    now = datetime.now(UTC) - timedelta(seconds=1)
    waiting.message = second = StoredMessage(QUEUE, 2, now, {}, body.model_dump_json().encode())
    await registration.register_waiting([Announcement("t1", QUEUE, 2)])
    if same and not ended:
        # When it is published again, then the second message owns the log, also before a worker takes it
        assert log.events("t1")[-1].sequence == 2
        registered = await registration.register(TASK, second)
        assert (registered.metadata.task_sequence, registered.event.sequence) == (2, record.event.sequence + 1)
    else:
        # When another task has its id, or it has ended, then that one is refused
        with pytest.raises(ObsoleteMessageError):
            await registration.register(body, second)
    assert len(log.events("t1")) == (1 if not same else 2)


async def test_a_replay_of_a_deleted_task_registers_nothing(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    # Given the replay of a failure, whose log is gone
    waiting.message = replay = message(replay_of="7")
    # When it waits, or is taken, then nothing is appended
    await registration.register_waiting([ANNOUNCED])
    with pytest.raises(ObsoleteMessageError):
        await registration.register(TASK, replay)
    assert await log.last("t1") is None


async def test_a_replay_with_the_sequence_of_the_failed_task_is_registered_in_a_recreated_stream(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    # Given a failed task, and a task stream that was recreated and counts from 1
    queued = await registration.register(TASK, message())
    failed = await log.push(queued.event.model_copy(update={"state": State.FAILED, "sequence": 2}), queued.metadata)
    replay = replace(message(replay_of=str(failed.stream_sequence)), time=STORED_AT + timedelta(seconds=30))
    waiting.message = replay
    # And replays of another failure, and of another task
    other = TASK.model_copy(update={"user_id": 99})
    for task, number in ((TASK, failed.stream_sequence - 1), (other, failed.stream_sequence)):
        with pytest.raises(ObsoleteMessageError):
            await registration.register(task, replace(message(task, str(number)), time=replay.time))
    # When its replay waits there
    await registration.register_waiting([ANNOUNCED])
    # Then it is registered ahead of a worker
    assert [event.state for event in log.events("t1")] == [State.QUEUED, State.FAILED, State.QUEUED]


async def test_a_task_that_is_read_again_is_registered(registration: Registration, log: InMemoryTaskLog) -> None:
    running = asyncio.create_task(registration.run())
    registration.announce_waiting(message())
    await eventually(lambda: log.last("t1"), within=5)
    await cancel_all([running])


async def test_an_announced_task_is_registered_soon_and_a_replay_at_once(
    registration: Registration, log: InMemoryTaskLog, waiting: FakeWaiting
) -> None:
    # Given an idle service to which a task is announced
    await registration.announce(ANNOUNCED, replayed=False)
    assert await log.last("t1") is None
    # When it checks, then the task is registered
    running = asyncio.create_task(registration.run())
    queued = await eventually(lambda: log.last("t1"), within=5)
    await cancel_all([running])
    # And when it has failed and its replay is announced, then that is registered before anything else happens
    failed = await log.push(queued.event.model_copy(update={"state": State.FAILED, "sequence": 2}), queued.metadata)
    replay = message(replay_of=str(failed.stream_sequence))
    waiting.message = replace(replay, sequence=2, time=STORED_AT + timedelta(seconds=30))
    await registration.announce(ANNOUNCED._replace(sequence=2), replayed=True)
    assert log.events("t1")[-1].state is State.QUEUED


@pytest.mark.parametrize(
    "changes",
    [{"subject": "tasks.of.others"}, {"sequence": 0}, {"sequence": 2**63}],
)
async def test_an_announcement_of_no_message_of_a_queue_is_refused(
    registration: Registration, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="no message of a task queue"):
        await registration.announce(ANNOUNCED._replace(**changes), replayed=False)
    await registration.announce(ANNOUNCED._replace(sequence=2**63 - 1), replayed=False)


@pytest.mark.parametrize("error", [NatsTimeoutError(), TransientError(ErrorCode.INTERNAL, "The disk is full.")])
async def test_a_failed_registration_is_retried(
    registration: Registration,
    log: InMemoryTaskLog,
    constants: Constants,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    # Given a log to which nothing can be appended at first
    constants(OUTAGE_PAUSE_S=0.01)
    append, errors = log.append, [error, error]

    async def append_later(event: ProgressEvent, metadata: Metadata, *, after: int) -> Record:
        if errors:
            raise errors.pop()
        return await append(event, metadata, after=after)

    monkeypatch.setattr(log, "append", append_later)
    # When a task is announced once
    await registration.announce(ANNOUNCED, replayed=False)
    running = asyncio.create_task(registration.run())
    # Then it is registered as soon as that can be
    await eventually(lambda: log.last("t1"), within=5)
    assert errors == []
    await cancel_all([running])
