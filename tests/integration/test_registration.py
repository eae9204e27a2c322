"""Registration: the log of a task begins with `queued` soon, also where many wait."""

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast
from unittest.mock import AsyncMock

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import REPLAY_OF
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Kind, Priority

from app.cancellation import cancel_all
from app.errors import NotHeldError, TransientError
from app.jetstream import provisioning
from app.jetstream.connection_monitor import ConnectionMonitor
from app.main import Worker
from app.queue.consumer import TaskConsumer
from app.queue.positions import Positions
from app.queue.priorities import QueueReader
from app.queue.registration import ANNOUNCED_AT_ONCE, Announcement, Registration
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages
from app.settings import Settings
from app.task_log.log import TaskLog
from app.task_log.record import Record
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually

MANY = 2 * ANNOUNCED_AT_ONCE + 1
QUEUE = "tasks.transcription.normal"
TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
GHOST = TASK.model_copy(update={"task_id": "ghost"})


@pytest.fixture
async def busy(publisher: Publisher, worker: Worker, engine: FakeEngine) -> Worker:
    """A worker that has no time for any further task."""
    engine.may_go_on.clear()
    await publisher.publish("busy", priority=Priority.HIGH)
    await publisher.until("busy", State.RUNNING)
    return worker


@dataclass(frozen=True)
class Alone:
    """A registration without a worker around it: nobody announces what is published, or takes it."""

    registration: Registration
    log: TaskLog
    must_wait: list[bool]  # whether tasks have to wait, by the last of these
    asked: asyncio.Event  # somebody wanted to know that


@pytest.fixture
async def alone(nc: Client, js: JetStreamContext, settings: Settings) -> Alone:
    await provisioning.provision(js, settings)
    names = settings.stream_names
    log = TaskLog(nc, names, "w")
    messages = TaskMessages(nc, names)
    positions = Positions(nc, names, messages, QueueReader(nc, names), idle=lambda: False)
    answers, asked = [False], asyncio.Event()

    def must_wait() -> bool:
        asked.set()
        return answers[-1]

    registration = Registration(
        log,
        messages,
        positions,
        ConnectionMonitor(),
        max_attempts=4,
        must_wait=must_wait,
        delete_keys=AsyncMock(),
    )
    return Alone(registration, log, answers, asked)


def copied(sequence: int, **more: str) -> dict[str, str]:
    """The headers of a copy of the message with this sequence."""
    return {"Nats-Subject": QUEUE, "Nats-Sequence": str(sequence)} | more


async def test_each_task_of_a_burst_has_its_position(publisher: Publisher, busy: Worker) -> None:
    # Given a busy worker, when more tasks are published than it registers at once
    for number in range(MANY):
        await publisher.publish(f"t{number}")
    first_events = [(await publisher.until(f"t{number}", State.QUEUED))[0] for number in range(MANY)]
    # Then each is registered with its position, give or take what is published meanwhile
    assert [event.sequence for event in first_events] == [1] * MANY
    for number, event in enumerate(first_events, 1):
        assert event.queue_position == pytest.approx(number, abs=2)


async def test_tasks_of_all_queues_are_registered_together(publisher: Publisher, busy: Worker) -> None:
    # When tasks of all queues are stored in the same moment, and one of them twice
    queues = [(kind, priority) for kind in Kind for priority in Priority]
    await asyncio.gather(
        *(publisher.publish(f"{kind}-{priority}", kind=kind, priority=priority) for kind, priority in queues),
        publisher.publish("transcription-low", priority=Priority.HIGH),
    )
    # Then each is registered once
    for kind, priority in queues:
        (queued,) = await publisher.until(f"{kind}-{priority}", State.QUEUED)
        assert (queued.kind, queued.sequence) == (kind, 1)


async def test_a_task_that_could_not_be_registered_is_done_all_the_same(
    publisher: Publisher, busy: Worker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stream that does not answer for a moment
    asked = asyncio.Event()

    async def unanswered(_: TaskLog, __: object) -> None:
        asked.set()
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    with monkeypatch.context() as away:
        away.setattr(TaskLog, "last_of", unanswered)
        await publisher.publish("t1")
        await asked.wait()
    # When it answers again, then later tasks are registered
    await publisher.publish("t2")
    await publisher.until("t2", State.QUEUED)
    # And the one that was not registered is done all the same
    engine.may_go_on.set()
    states = [event.state for event in await publisher.until("t1", State.COMPLETED)]
    assert (states[0], states[-1]) == (State.QUEUED, State.COMPLETED)


async def test_registration_goes_on_after_an_unexpected_error(
    publisher: Publisher, busy: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an announcement that raises an unexpected error
    asked = asyncio.Event()

    async def broken(_: TaskLog, __: object) -> None:
        asked.set()
        raise OverflowError

    with monkeypatch.context() as breaking:
        breaking.setattr(TaskLog, "last_of", broken)
        await publisher.publish("t1")
        await asked.wait()
    # When another task is published, then it is registered
    await publisher.publish("t2")
    await publisher.until("t2", State.QUEUED)


@pytest.mark.foreign
async def test_a_forged_announcement_does_not_take_the_place_of_the_true_one(
    publisher: Publisher, busy: Worker, nc: Client
) -> None:
    # Given somebody who repeats each announcement at once, with another recording
    async def repeat(announced: Msg) -> None:
        if b"forged" not in announced.data:
            task = json.loads(announced.data) | {"audio_file_id": "forged"}
            await nc.publish(announced.subject, json.dumps(task).encode(), headers=announced.headers)

    forger = await nc.subscribe("accepted.tasks.>", cb=repeat)
    # When a task is published
    await publisher.publish("t1")
    # Then the task is registered as it was published
    await publisher.until("t1", State.QUEUED)
    status = await publisher.ask("tasks.status", task_id="t1")
    assert cast("dict[str, object]", status["task"])["audio_file_id"] == "meeting.flac"
    await forger.unsubscribe()


async def test_a_task_that_is_deleted_before_its_registration_does_not_come_back(
    publisher: Publisher, busy: Worker, js: JetStreamContext
) -> None:
    # Given a new message that was delivered to a worker
    await publisher.publish("t1")
    await publisher.until("t1", State.QUEUED)
    found = await js.get_last_msg("transcription_tasks", QUEUE, direct=True)
    message = replace(StoredMessage.fetched(found), time=datetime.now(UTC))
    # When its task is deleted before the worker gets on
    await publisher.ask("tasks.delete", task_id="t1")
    # Then nothing registers it again
    with pytest.raises(NotHeldError):
        await busy.container.registration.register(TASK, message)
    assert (await publisher.ask("tasks.status", task_id="t1"))["error"]


async def test_only_tasks_that_the_queue_holds_are_registered(publisher: Publisher, alone: Alone) -> None:
    # Given a task in the queue
    await publisher.publish("t1")
    # When it is announced twice, after an unknown id with the same sequence
    await alone.registration.register_waiting([Announcement(task_id, QUEUE, 1) for task_id in ("ghost", "t1", "t1")])
    # Then the log is that of the task, and the unknown one has none
    last = await alone.log.last("t1")
    assert last is not None
    assert last.metadata.task == TASK
    assert await alone.log.last("ghost") is None


async def test_a_sequence_that_no_stream_has_holds_up_nobody(publisher: Publisher, alone: Alone) -> None:
    # Given a task in the queue
    await publisher.publish("t1")
    # When it is announced together with a sequence that is larger than any
    with suppress(ValueError):
        await alone.registration.announce(GHOST, copied(2**70))
    await alone.registration.announce(TASK, copied(1))
    running = asyncio.create_task(alone.registration.run())
    # Then it is registered
    last = await eventually(lambda: alone.log.last("t1"), within=5)
    assert last.event.state is State.QUEUED
    await cancel_all([running])


async def test_a_replay_is_registered_at_once(publisher: Publisher, js: JetStreamContext, alone: Alone) -> None:
    # Given a task that has failed
    await publisher.publish("t1")
    await alone.registration.register_waiting([Announcement("t1", QUEUE, 1)])
    queued = await alone.log.last("t1")
    assert queued is not None
    failed = await alone.log.end(queued, ErrorDetail(code=ErrorCode.EXPIRED, message="It waited too long."))
    # When its message is queued again
    again = {REPLAY_OF: str(failed.stream_sequence)}
    await js.publish(QUEUE, TASK.model_dump_json().encode(), headers=again)
    await alone.registration.announce(TASK, copied(2, **again))
    # Then its log says `queued` once the announcement is handled
    last = await alone.log.last("t1")
    assert last is not None
    assert last.event.state is State.QUEUED


@pytest.mark.foreign
async def test_announcements_are_not_answered(publisher: Publisher, busy: Worker, nc: Client) -> None:
    # Given somebody who announces a task, and waits for an answer
    inbox = await nc.subscribe(nc.new_inbox())
    body = GHOST.model_dump_json().encode()
    await nc.publish(f"accepted.{QUEUE}", body, reply=inbox.subject, headers=copied(1))
    # When a task is registered that was announced after that
    await publisher.publish("t1")
    await publisher.until("t1", State.QUEUED)
    await nc.flush()
    # Then nothing has come
    assert inbox.pending_msgs == 0


async def test_tasks_that_were_stored_while_no_worker_ran_are_registered(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given tasks that were published while no worker ran, and a message that is no task
    async with start_worker(FakeEngine()):
        pass
    for number in range(4):
        await publisher.publish(f"t{number}")
    await publisher.js.publish("tasks.transcription.normal", b"garbage")
    # When a worker comes, and is busy with the first
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.until("t0", State.RUNNING)
        # Then clients see those that wait, and can cancel and delete them
        for number in range(1, 4):
            await publisher.until(f"t{number}", State.QUEUED)
        assert (await publisher.ask("tasks.status", task_id="t1"))["state"] == "queued"
        assert (await publisher.ask("tasks.cancel", task_id="t2"))["state"] == "cancelled"
        assert (await publisher.ask("tasks.delete", task_id="t3"))["deleted"]
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)
    assert len(engine.jobs) == 2


async def test_a_registration_that_failed_is_tried_again(
    publisher: Publisher, alone: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that could not be registered
    await publisher.publish("t1")
    append = TaskLog.append

    async def full(self: TaskLog, *_: object, **__: object) -> Record:
        monkeypatch.setattr(TaskLog, "append", append)
        raise TransientError(ErrorCode.INTERNAL, "The disk is full.")

    monkeypatch.setattr(TaskLog, "append", full)
    with pytest.raises(TransientError):
        await alone.registration.register_waiting([Announcement("t1", QUEUE, 1)])
    # When it is tried again, then the task is registered
    await alone.registration.register_waiting([Announcement("t1", QUEUE, 1)])
    await publisher.until("t1", State.QUEUED)


async def test_a_replay_of_a_task_that_was_deleted_brings_nothing_back(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given the message of a replay whose task was deleted just then
    body = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}).encode()
    await js.publish(QUEUE, body, headers={REPLAY_OF: "3"})
    # Then it is removed from the queue, and nothing is appended
    await eventually(lambda: queue_is_empty(js))
    assert (await js.stream_info("transcription_progress")).state.messages == 0
    assert engine.jobs == []


async def test_what_cannot_be_registered_at_once_is_registered_later(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
) -> None:
    # Given a busy worker that gets no answer from NATS when a task is announced
    constants(OUTAGE_PAUSE_S=0.05)
    monkeypatch.setattr(TaskConsumer, "keeps_waiting", False)  # else what was missed is looked for, too
    unanswered, last_of = 2, TaskLog.last_of

    async def seldom(self: TaskLog, task_ids: Iterable[str]) -> dict[str, Record]:
        nonlocal unanswered
        if unanswered:
            unanswered -= 1
            raise NatsTimeoutError
        return await last_of(self, task_ids)

    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("busy")
        await publisher.until("busy", State.RUNNING)
        monkeypatch.setattr(TaskLog, "last_of", seldom)
        await publisher.publish("t1")
        # When NATS answers again, then the task is known, though the worker is still busy
        await publisher.until("t1", State.QUEUED)
        assert unanswered == 0
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)


async def test_what_was_missed_is_registered_only_where_it_has_to_wait(
    publisher: Publisher, alone: Alone, constants: Constants
) -> None:
    # Given a worker that is never busy for long, and a task whose announcement it missed
    constants(WAITING_CHECK_EVERY_S=0.01)
    await publisher.publish("t1")
    running = asyncio.create_task(alone.registration.run())
    for _ in range(5):
        await alone.asked.wait()
        alone.asked.clear()
    # Then whoever takes it registers it
    assert await alone.log.last("t1") is None
    # And when the worker is busy for longer, it is registered ahead
    alone.must_wait.append(True)
    await publisher.until("t1", State.QUEUED)
    await cancel_all([running])
