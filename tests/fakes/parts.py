"""The parts of a worker, connected to a NATS in memory, and what publishers and other workers do to its streams."""

import asyncio
import json
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from uuid import uuid4

from faststream.nats import NatsBroker
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.headers import AUDIO_SECONDS
from natscribe.schemas.progress import State, next_event
from natscribe.schemas.wire import Priority, TaskType

from app.container import Container
from app.engines.model_loader import ModelLoader
from app.fleet.stream_guard import provisioning
from app.requests.discovery import ServiceInstance
from app.runtime.cancellation import cancel_all
from app.runtime.supervision import run_forever
from app.runtime.telemetry.metrics import Meter
from app.runtime.telemetry.tracing import OFF
from app.settings import Settings
from app.storage.jetstream import connection
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.storage.jetstream.publishers import Publishers
from app.storage.jetstream.pull_inbox import PullInbox
from app.storage.jetstream.slots import SlotPool
from app.tasks.queue.fair_queue import QueuedTask
from app.tasks.queue.granted_task import GrantedTask
from app.tasks.queue.grants import Grants, all_grants, read_grant
from app.tasks.queue.scheduler import Scheduler
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.record import Record
from handlers.channels import subscribe
from handlers.task_middlewares import task_middlewares
from tests.fakes.engine import FakeEngine
from tests.fakes.nats import InMemoryNats
from tests.waiting import eventually

SETTINGS = Settings(_env_file=None, redis_url="redis://127.0.0.1:1")  # where no Redis is
NAMES = SETTINGS.stream_names
UNREADABLE = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message="The recording is not audio.")
DIED = ErrorDetail(code=ErrorCode.WORKER_LOST, message="The worker died.")


STREAMS: dict[str, bytes] = {}  # by their settings, pickled: to copy them takes a tenth of the time of making them


async def provisioned(settings: Settings = SETTINGS) -> InMemoryNats:
    """A server that has all streams, consumers and buckets."""
    nats, key = InMemoryNats(), settings.model_dump_json()
    if key not in STREAMS:
        await provisioning.provision(nats.jetstream(), settings)
        STREAMS[key] = pickle.dumps(nats.streams)
    nats.streams = pickle.loads(STREAMS[key])  # noqa: S301 -- it is ours
    nats.requests.clear()
    return nats


@cache
def subscriber() -> LogicSubscriber[Msg]:
    """Declare all channels, once: that takes longer than the other parts, and nothing is delivered by a broker here."""
    return subscribe(NatsBroker(), SETTINGS, ServiceInstance("worker"))


class Parts(Container):
    """All components of a worker without servers."""

    def __init__(self, nats: InMemoryNats, settings: Settings = SETTINGS, engine: FakeEngine | None = None) -> None:
        self.server = nats
        monitor = ConnectionMonitor()
        broker = connection.broker(settings, monitor, traces=OFF)
        broker.config.connect(nats.client)
        super().__init__(
            f"worker-{uuid4().hex[:4]}",
            settings,
            nats.client,
            ModelLoader(engine or FakeEngine()),
            monitor,
            Publishers(broker),
            subscriber(),
            Meter(),
            OFF.get_tracer("natscribe"),
        )
        self.task_middlewares = task_middlewares(self, ack_wait=15)

    async def publish(
        self,
        task_id: str,
        queue: TaskType = TaskType.TRANSCRIPTION,
        priority: Priority = Priority.NORMAL,
        *,
        seconds: float | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        **options: object,
    ) -> StoredMessage:
        """Store a task as a publisher does."""
        task = {"task_id": task_id, "audio_file_id": "a.flac", "user_id": 7} | options
        length = {} if seconds is None else {AUDIO_SECONDS: str(seconds)}
        subject, written = subjects.tasks(queue, priority), json.dumps(task).encode() if body is None else body
        stored = await self.server.jetstream().publish(subject, written, headers=length | (headers or {}))
        message = await self.messages.find(subject, stored.seq)
        assert message is not None
        return message

    async def message_of(self, record: Record) -> StoredMessage:
        """Read the message of a task, which must be stored."""
        message = await self.messages.find(None, record.metadata.task_sequence)
        assert message is not None
        return message

    async def register(self, message: StoredMessage) -> Record:
        """Append `queued` for a message."""
        assert message.task is not None
        return await self.registration.register(message.task, message)

    async def last(self, task_id: str = "t1") -> Record:
        """The last record of a task that is registered."""
        record = await self.log.last(task_id)
        assert record is not None
        return record

    async def advance(self, record: Record, state: State, **fields: object) -> Record:
        """Append an event after the last one of a task."""
        event = next_event(record.event, state, **fields)
        return await self.log.append(event, record.metadata, after=record.stream_sequence)

    async def reaching(self, state: State, task_id: str, **options: object) -> Record:
        """Publish a task and append events up to a state; store the outcome of an ended task."""
        message = await self.publish(task_id, **options)  # type: ignore[arg-type]  # options of a task
        record = await self.register(message)
        if state is State.QUEUED:
            return record
        running = await self.advance(record, State.RUNNING, attempt=1)
        if state in {State.CANCELLED, State.FAILED}:
            return await self.log.end(running, UNREADABLE if state is State.FAILED else None)
        return running if state is State.RUNNING else await self.advance(running, state)

    async def deliver(
        self, queue: TaskType = TaskType.TRANSCRIPTION, priority: Priority = Priority.NORMAL
    ) -> StoredMessage:
        """Deliver the next message of a queue."""
        return (await self.take(queue, priority)).stored

    async def take(self, queue: TaskType = TaskType.TRANSCRIPTION, priority: Priority = Priority.NORMAL) -> GrantedTask:
        """Grant the first task of a queue that has no grant, and deliver it; or deliver a returned one again."""
        slots = SlotPool.of(queue)
        inbox = PullInbox(self.server.client, NAMES.ready, NAMES.slot_consumer(slots))
        if not self.server.streams[NAMES.ready].holds_message_for(NAMES.slot_consumer(slots)):
            await self.grant(queue, priority)
        (grant,) = await inbox.pull(1)
        granted = read_grant(grant.data)
        message = await self.messages.find(granted.subject, granted.sequence)
        assert message is not None
        return GrantedTask(grant, message)

    @asynccontextmanager
    async def scheduling(self) -> AsyncIterator[Scheduler]:
        """Schedule tasks until the body ends; it begins when the scheduler knows all tasks that are stored."""
        work = asyncio.create_task(run_forever("scheduler", self.scheduler.run, every_s=0))
        try:
            await eventually(self.schedules_all)
            yield self.scheduler
        finally:
            await cancel_all([work])

    def schedules_all(self) -> bool:
        """Whether the scheduler knows all stored tasks."""
        scheduler, stored = self.scheduler, self.server.streams[NAMES.tasks].messages
        return scheduler.queue.waiting.total() + len(scheduler.granted) + len(scheduler.scheduled) == len(stored)

    async def grant(self, queue: TaskType = TaskType.TRANSCRIPTION, priority: Priority = Priority.NORMAL) -> None:
        """Grant the first task of a queue that has no grant."""
        grants = Grants(self.publishers.grants, NAMES)
        granted = {grant.sequence for grant in await all_grants(self.server.client, NAMES)}
        waiting = await self.messages.page_after(subjects.tasks(queue, priority), 0, count=1000)
        message = next(message for message in waiting if message.sequence not in granted)
        await grants.publish(QueuedTask(message.user, queue, priority, message.sequence))
