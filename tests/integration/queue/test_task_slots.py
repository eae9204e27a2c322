"""Task slots are FastStream subscribers that pull one grant at a time, also after outages and lost consumers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from faststream.nats import NatsBroker
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority, TaskType

from app.fleet.stream_guard.provisioning import provision
from app.runtime.cancellation import cancel_all
from app.settings import Settings
from app.storage.jetstream.decoding import decode
from app.storage.jetstream.slots import SlotPool
from app.storage.jetstream.streams import consumer_configs
from app.tasks.queue.fair_queue import QueuedTask
from app.tasks.queue.granted_task import GrantedTask, GrantReader
from app.tasks.queue.grants import Grants
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.queue.task_slots import PULL_TIMEOUT_S, TaskSlot, TaskSlots
from tests.constants import Constants
from tests.publishers import publishers
from tests.servers import NatsServer
from tests.waiting import eventually, patiently

NOTICED_WITHIN_S = PULL_TIMEOUT_S[SlotPool.RECORDINGS] + 5  # a missing consumer: when the open pull has expired


@dataclass
class Worker:
    """The slots of a worker; its handlers note what they receive, and wait for `may_end`."""

    settings: Settings
    broker: NatsBroker
    nats: Client
    handled: list[tuple[str, str]] = field(default_factory=list)  # the type of the handler's tasks, and the task id
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    outages: list[None] = field(default_factory=list)
    watching: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self, *kinds: SlotPool) -> None:
        """Start slots of these kinds."""
        slots = [TaskSlot(kind) for kind in kinds]
        self.messages = TaskMessages(self.nats, publishers(self.nats).removed, self.settings.stream_names)
        handlers = {task_type: self._handler(task_type) for task_type in TaskType}
        for slot in slots:
            slot.subscribe(self.broker, GrantReader(self.messages), self.settings.stream_names, handlers)
        self.slots = TaskSlots(self.settings.stream_names, slots, answered=lambda: self.outages.append(None))
        await self.broker.start()
        self.watching.append(asyncio.create_task(self.slots.run(self.nats)))

    def _handler(self, task_type: TaskType):  # type: ignore[no-untyped-def]
        async def handle(message: NatsMessage) -> None:
            granted = cast("GrantedTask", message)
            self.handled.append((task_type, str(granted.stored.task_id)))
            await self.may_end.wait()
            await self.messages.delete(granted.stored, by_worker=True)
            await granted.ack()

        return handle

    async def publish(self, task_id: str, task_type: TaskType = TaskType.TRANSCRIPTION) -> QueuedTask:
        """Store a task, and grant it."""
        body = json.dumps({"task_id": task_id, "audio_file_id": "a.flac", "user_id": 7}).encode()
        stored = await self.nats.jetstream().publish(subjects.tasks(task_type, Priority.NORMAL), body)
        task = QueuedTask(7, task_type, Priority.NORMAL, stored.seq)
        await Grants(publishers(self.nats).grants, self.settings.stream_names).publish(task)
        return task

    async def grants(self) -> int:
        """How many grants are stored: they are neither acknowledged nor deleted."""
        info = await self.nats.jetstream().stream_info(self.settings.stream_names.ready)
        return info.state.messages

    def has_handled(self, *task_ids: str) -> bool:
        return [task_id for _, task_id in self.handled] == list(task_ids)


@pytest.fixture
async def worker(settings: Settings, nats_server: NatsServer) -> AsyncIterator[Worker]:
    broker = NatsBroker(
        nats_server.url,
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        logger=None,
        graceful_timeout=5,
        decoder=decode,
    )
    nats = await broker.connect()
    await provision(nats.jetstream(), settings)
    worker = Worker(settings, broker, nats)
    yield worker
    worker.may_end.set()
    await cancel_all(worker.watching)
    await worker.slots.stop(grace=1)
    await broker.stop()


async def waiting(worker: Worker, kind: SlotPool) -> int:
    names = worker.settings.stream_names
    info = await worker.nats.jetstream().consumer_info(names.ready, names.slot_consumer(kind))
    return info.num_waiting or 0


async def test_one_slot_handles_one_task_at_a_time_with_the_handler_of_its_lane(worker: Worker) -> None:
    # Given two granted tasks of different types
    await worker.publish("t1")
    await worker.publish("d1", TaskType.DIARIZATION)
    # When a worker with one slot starts, then it handles the first, and has no pull open
    await worker.start(SlotPool.RECORDINGS)
    await eventually(lambda: worker.handled == [("transcription", "t1")])
    assert (worker.slots.idle, worker.slots.busy) == (False, True)
    assert await waiting(worker, SlotPool.RECORDINGS) == 0
    # And then the second, and settles both grants
    worker.may_end.set()
    await eventually(lambda: worker.handled == [("transcription", "t1"), ("diarization", "d1")])
    await eventually(lambda: worker.slots.idle)
    assert await worker.grants() == 0


async def test_a_worker_takes_as_many_tasks_as_it_has_slots(worker: Worker) -> None:
    # Given a worker with three slots for live tasks
    await worker.start(*3 * [SlotPool.LIVE])
    for number in range(4):
        await worker.publish(f"l{number}", TaskType.LIVE)
    # When four tasks are granted, then it takes three, and the other one once a slot is free
    await eventually(lambda: len(worker.handled) == 3)
    assert await waiting(worker, SlotPool.LIVE) == 0
    names = worker.settings.stream_names
    info = await worker.nats.jetstream().consumer_info(names.ready, names.slot_consumer(SlotPool.LIVE))
    assert (info.num_ack_pending, info.num_pending) == (3, 1)
    worker.may_end.set()
    await eventually(lambda: len(worker.handled) == 4)


async def test_the_grant_of_a_deleted_task_is_settled(worker: Worker) -> None:
    # Given a granted task that was deleted, and another one
    deleted = await worker.publish("deleted")
    await worker.publish("t1")
    await worker.nats.jetstream().delete_msg(worker.settings.stream_names.tasks, deleted.sequence)
    removed = await worker.nats.subscribe(subjects.REMOVED)
    # When a worker takes both grants, then it handles the other task, and the scheduler learns about the first
    await worker.start(SlotPool.RECORDINGS)
    await eventually(lambda: worker.has_handled("t1"))
    assert json.loads((await removed.next_msg(timeout=5)).data)["sequence"] == deleted.sequence
    worker.may_end.set()
    await eventually(lambda: worker.slots.idle)
    assert await worker.grants() == 0


async def test_a_grant_that_cannot_be_read_is_returned_and_stops_nothing(worker: Worker, constants: Constants) -> None:
    # Given a grant of another version, and a readable one
    constants(READ_AGAIN_AFTER_S=0.1)
    await worker.nats.jetstream().publish(subjects.ready(SlotPool.RECORDINGS, 99), b"{}")
    worker.may_end.set()
    await worker.start(SlotPool.RECORDINGS)
    await worker.publish("t1")
    # Then the readable one is handled, and the other is delivered again and again
    await eventually(lambda: worker.has_handled("t1"))
    names = worker.settings.stream_names

    async def is_redelivered() -> bool:
        info = await worker.nats.jetstream().consumer_info(names.ready, names.slot_consumer(SlotPool.RECORDINGS))
        return bool(info.num_redelivered)

    await eventually(is_redelivered)
    assert await worker.grants() == 1


async def test_a_worker_that_stops_while_it_reads_a_task_returns_the_grant(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = asyncio.Event()

    async def read_forever(*_: object) -> None:
        reads.set()
        await asyncio.Event().wait()

    await worker.start(SlotPool.RECORDINGS)
    with monkeypatch.context() as patched:
        patched.setattr(TaskMessages, "find", read_forever)
        await worker.publish("t1")
        await reads.wait()
        await worker.slots.stop(grace=0)
    names = worker.settings.stream_names
    consumer = await worker.nats.jetstream().pull_subscribe_bind(names.slot_consumer(SlotPool.RECORDINGS), names.ready)
    (grant,) = await consumer.fetch(1, timeout=5)  # sooner than its ack_wait
    assert grant.metadata.num_delivered == 2


async def test_a_missing_consumer_costs_no_hot_loop_and_no_task(worker: Worker) -> None:
    # Given idle slots whose consumer is deleted
    await worker.start(*3 * [SlotPool.RECORDINGS])
    names, js = worker.settings.stream_names, worker.nats.jetstream()
    (config,) = (
        config
        for _, config in consumer_configs(worker.settings)
        if config.durable_name == names.slot_consumer("recordings")
    )
    await js.delete_consumer(names.ready, str(config.durable_name))
    # Then they stop to pull
    await eventually(lambda: not worker.slots.running, within=patiently(NOTICED_WITHIN_S))
    sent = worker.nats.stats["out_msgs"]
    await asyncio.sleep(1)
    assert worker.nats.stats["out_msgs"] - sent < 20
    # When it is created again, then they receive tasks
    await js.add_consumer(names.ready, config)
    await eventually(lambda: worker.slots.running)
    await worker.publish("t1")
    await eventually(lambda: worker.has_handled("t1"))
    assert worker.outages == [None]


async def test_an_outage_leaves_one_pull_for_each_slot(worker: Worker, nats_server: NatsServer) -> None:
    # Given an idle slot that pulls often
    await worker.start(SlotPool.RECORDINGS)
    # When NATS is away for longer than several pulls
    await nats_server.kill()
    await eventually(lambda: not worker.slots.running)
    await asyncio.sleep(2)
    await nats_server.start()
    # Then the slot has exactly one pull open, or the scheduler would take it for several
    await eventually(lambda: worker.slots.running, within=20)
    assert await waiting(worker, SlotPool.RECORDINGS) == 1
    assert worker.outages
    await worker.publish("t1")
    await eventually(lambda: worker.has_handled("t1"))


async def test_a_running_task_ends_through_an_outage(worker: Worker, nats_server: NatsServer) -> None:
    await worker.start(SlotPool.RECORDINGS)
    await worker.publish("t1")
    await eventually(lambda: worker.has_handled("t1"))
    await nats_server.kill()
    await nats_server.start()
    await eventually(lambda: worker.nats.is_connected, within=20)
    worker.may_end.set()
    await eventually(lambda: worker.slots.idle, within=20)
    assert await worker.grants() == 0
