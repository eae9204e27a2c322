"""Within one worker, registering a task ahead and taking its message do not get in each other's way."""

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from app.errors import AlreadyKnownError, OvertakenError
from app.jetstream.connection_monitor import ConnectionMonitor
from app.log.entry import Entry, Facts
from app.queue.positions import Position, WaitingTasks
from app.queue.registration import Announcement, Registration
from app.queue.stored_message import StoredMessage
from schemas.headers import REPLAY_OF
from schemas.progress import ProgressEvent, State
from schemas.transcription import TranscriptionTask
from tests.fakes.task_log import InMemoryTaskLog

QUEUE = "tasks.transcription.normal"
TASK = TranscriptionTask(task_id="t1", audio_file_id="a.wav", user_id=1)
STORED_AT = datetime.now(UTC) - timedelta(minutes=1)
ANNOUNCED = Announcement("t1", QUEUE, 1)


def message(task: TranscriptionTask = TASK, replay_of: str | None = None) -> StoredMessage:
    headers = {REPLAY_OF: replay_of} if replay_of else {}
    return StoredMessage(QUEUE, 1, STORED_AT, headers, task.model_dump_json().encode())


class FakeLog(InMemoryTaskLog):
    """Refuses so many appends, and counts them all."""

    refuses = 0
    appends = 0

    async def append(self, event: ProgressEvent, facts: Facts, *, after: int) -> Entry:
        self.appends += 1
        if self.refuses:
            self.refuses -= 1
            self.progress_stream.stored.set()
            await self.progress_stream.acknowledges.wait()
            raise OvertakenError
        return await super().append(event, facts, after=after)


class FakeWaiting:
    """Holds one message."""

    def __init__(self) -> None:
        self.message: StoredMessage | None = message()

    async def held(self, _: str, __: int) -> StoredMessage | None:
        return self.message

    async def find(self, _: str, __: Collection[int]) -> list[tuple[StoredMessage, Position | None]]:
        return [(self.message, Position(3, None))] if self.message else []


@pytest.fixture
def log() -> FakeLog:
    return FakeLog()


@pytest.fixture
def waiting() -> FakeWaiting:
    return FakeWaiting()


@pytest.fixture
def registration(log: FakeLog, waiting: FakeWaiting) -> Registration:
    found = cast("WaitingTasks", waiting)
    return Registration(log, found, ConnectionMonitor(), max_attempts=4, must_wait=lambda: False)


async def taken_while_registered_ahead(registration: Registration, log: FakeLog) -> Entry:
    """Take the message of a task in the moment in which it is registered ahead."""
    log.progress_stream.acknowledges.clear()
    ahead = asyncio.create_task(registration.register_waiting([ANNOUNCED]))
    await log.progress_stream.stored.wait()
    taken = asyncio.create_task(registration.register(TASK, message()))
    await asyncio.sleep(0)
    log.progress_stream.acknowledges.set()
    await ahead
    return await taken


async def test_whoever_takes_a_message_waits_for_its_registration(registration: Registration, log: FakeLog) -> None:
    # When a message is taken whose task is being registered, then its record is found, and no append was refused
    record = await taken_while_registered_ahead(registration, log)
    assert (record.event.state, record.event.queue_position) == (State.QUEUED, 3)
    assert log.appends == len(await log.events("t1")) == 1


async def test_whoever_takes_a_message_registers_what_was_not_registered_ahead(
    registration: Registration, log: FakeLog
) -> None:
    # Given a registration that is refused, when nothing is there all the same
    log.refuses = 1
    # Then whoever took the message registers its task
    record = await taken_while_registered_ahead(registration, log)
    assert record.event.sequence == 1
    assert [event.state for event in await log.events("t1")] == [State.QUEUED]


async def test_what_was_taken_is_not_registered_ahead(
    registration: Registration, log: FakeLog, waiting: FakeWaiting
) -> None:
    # Given a message that was taken, and whose record nobody sees yet
    await registration.register(TASK, message())
    await log.purge_events("t1")
    # When it is announced late
    await registration.register_waiting([ANNOUNCED])
    # Then nothing is appended
    assert log.appends == 1
    # But a stream that was made anew counts from one again
    waiting.message = message(TASK.model_copy(update={"task_id": "t2"}))
    await registration.register_waiting([Announcement("t2", QUEUE, 1)])
    assert len(await log.events("t2")) == 1


async def test_what_the_stream_holds_is_registered_whatever_an_announcement_says(
    registration: Registration, log: FakeLog
) -> None:
    # When somebody announces a message under another task's id
    await registration.register_waiting([Announcement("forged", QUEUE, 1)])
    # Then the task of the stored message is registered, and no other
    assert len(await log.events("t1")) == 1
    assert await log.last("forged") is None


async def test_an_id_belongs_to_the_message_that_was_registered_first(
    registration: Registration, log: FakeLog, waiting: FakeWaiting
) -> None:
    # Given a registered task
    first = message()
    record = await registration.register(TASK, first)
    # When a second message with its id waits or is taken, then nothing is appended
    waiting.message = second = StoredMessage(QUEUE, 2, datetime.now(UTC) - timedelta(seconds=1), {}, first.body)
    await registration.register_waiting([Announcement("t1", QUEUE, 2)])
    with pytest.raises(AlreadyKnownError):
        await registration.register(TASK, second)
    # And the first one owns the id still
    assert (await registration.register(TASK, first)).stream_sequence == record.stream_sequence
    assert log.appends == 1


async def test_a_replay_of_a_deleted_task_registers_nothing(
    registration: Registration, log: FakeLog, waiting: FakeWaiting
) -> None:
    # Given the replay of a failure, whose log is gone
    waiting.message = replay = message(replay_of="7")
    # When it waits, or is taken, then nothing is appended
    await registration.register_waiting([ANNOUNCED])
    with pytest.raises(AlreadyKnownError):
        await registration.register(TASK, replay)
    assert log.appends == 0
