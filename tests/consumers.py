"""Many task consumers, each with a connection of its own, that handle messages without the rest of a worker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from faststream.nats import NatsBroker
from faststream.nats.annotations import NatsMessage
from nats.aio.client import Client
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Priority, TaskType

from app.fleet.stream_guard.provisioning import provision
from app.runtime.cancellation import cancel_all
from app.runtime.supervision import run_forever
from app.settings import Settings
from app.storage.jetstream.nats_py_compat import send_pings_in_order
from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import Quota
from app.tasks.queue.granted_task import GrantedTask, GrantReader
from app.tasks.queue.grants import Grants
from app.tasks.queue.scheduler import Scheduler
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.queue.task_slots import TaskSlot, TaskSlots
from tests.publishers import publishers
from tests.waiting import eventually

KEYS = [(task_type, priority) for priority in Priority for task_type in (TaskType.TRANSCRIPTION, TaskType.DIARIZATION)]
UNLIMITED = Quota()


@dataclass
class Fleet:
    """Task slots, and the messages that they have handled."""

    nc: Client
    names: StreamNames
    task_seconds: float = 0.02
    handled: list[tuple[str, str]] = field(default_factory=list)  # subject and body of each message, in their order
    consumers: list[tuple[TaskSlots, NatsBroker, asyncio.Task[None]]] = field(default_factory=list)

    async def start(self, url: str) -> None:
        """Add a slot for recordings, with a connection of its own."""
        broker = NatsBroker(url, max_reconnect_attempts=-1, reconnect_time_wait=1, logger=None, graceful_timeout=5)
        connection = await broker.connect()
        send_pings_in_order(connection)
        slot = TaskSlot(SlotPool.RECORDINGS)
        handlers = dict.fromkeys((TaskType.TRANSCRIPTION, TaskType.DIARIZATION), self._handle)
        slot.subscribe(
            broker,
            GrantReader(TaskMessages(connection, publishers(connection).removed, self.names)),
            self.names,
            handlers,
        )
        slots = TaskSlots(self.names, (slot,), answered=lambda: None)
        await broker.start()
        watching = asyncio.create_task(run_forever("task_slots", partial(slots.run, connection), every_s=0))
        self.consumers.append((slots, broker, watching))

    async def stop_one(self) -> None:
        """Stop the first slot as a worker does."""
        slots, broker, watching = self.consumers.pop(0)
        await cancel_all([watching])
        await slots.stop(grace=5)
        await broker.stop()

    async def become_idle(self) -> None:
        """Wait until each slot has an open pull."""

        async def is_idle() -> bool:
            ready = self.names.slot_consumer(SlotPool.RECORDINGS)
            info = await self.nc.jetstream().consumer_info(self.names.ready, ready)
            return (info.num_waiting or 0) >= len(self.consumers)

        await eventually(is_idle)

    async def handles_once(self, bodies: Sequence[str], *, within: float) -> None:
        """Wait until each message is handled, and check that none is handled twice."""
        await eventually(lambda: {body for _, body in self.handled} >= set(bodies), within=within)
        assert Counter(body for _, body in self.handled) == Counter(bodies)

    async def _handle(self, message: NatsMessage) -> None:
        granted = cast("GrantedTask", message)
        self.handled.append((granted.stored.subject, granted.stored.body.decode()))
        await asyncio.sleep(self.task_seconds)
        await TaskMessages(self.nc, publishers(self.nc).removed, self.names).delete(granted.stored, by_worker=True)
        await granted.ack()


async def reject_none(_message: StoredMessage, _error: ErrorDetail) -> bool:
    """Let each task wait, however many wait already."""
    return False


def make_scheduler(
    nats: Client,
    names: StreamNames,
    *,
    quota: Quota = UNLIMITED,
    reject: Callable[[StoredMessage, ErrorDetail], Awaitable[bool]] = reject_none,
    report_waiting: Callable[[StoredMessage], None] = lambda _: None,
) -> Scheduler:
    """Create a scheduler that gives all users the same quota."""
    messages = TaskMessages(nats, publishers(nats).removed, names)
    grants = Grants(publishers(nats).grants, names)
    return Scheduler(nats, names, messages, grants, quota=lambda _: quota, reject=reject, report_waiting=report_waiting)


@asynccontextmanager
async def fleet(settings: Settings, nc: Client, urls: Sequence[str], count: int) -> AsyncIterator[Fleet]:
    """Idle task consumers that are connected to the servers `urls` in turn, and a scheduler, until the body ends."""
    await provision(nc.jetstream(), settings)
    consumers = Fleet(nc, settings.stream_names)
    scheduler = make_scheduler(nc, consumers.names)
    scheduling = asyncio.create_task(run_forever("scheduler", scheduler.run, every_s=0, retry_after_s=0.1))
    try:
        for number in range(count):
            await consumers.start(urls[number % len(urls)])
        await consumers.become_idle()
        yield consumers
    finally:
        while consumers.consumers:
            await consumers.stop_one()
        await cancel_all([scheduling])
