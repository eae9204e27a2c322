"""The task consumer pulls grants while it has a free slot, and passes the granted tasks to handlers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas import subjects
from natscribe.schemas.wire import Lane, Priority

from app.jetstream.pull_inbox import PullInbox
from app.jetstream.slots import Slots
from app.queue.consumer import TaskConsumer
from app.queue.stored_message import StoredMessage
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts
from tests.waiting import eventually

T, D = ((lane, Priority.NORMAL) for lane in (Lane.TRANSCRIPTION, Lane.DIARIZATION))
READY = NAMES.slot_consumer(Slots.RECORDINGS)
GET = "$JS.API.STREAM.MSG.GET"


@dataclass
class Worker:
    """A consumer, and the tasks that its handlers have received; a handler waits for `may_end`, then acknowledges."""

    parts: Parts
    handled: list[tuple[str | None, str]] = field(default_factory=list)  # the id, and the handler's queue
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    outages: list[None] = field(default_factory=list)
    broken: list[None] = field(default_factory=list)

    async def start(self, *, at_once: int = 1) -> None:
        async def transcribe(message: Msg) -> None:
            await self._handle(message, "transcription")

        async def diarize(message: Msg) -> None:
            await self._handle(message, "diarization")

        self.consumer = TaskConsumer(
            Slots.RECORDINGS,
            {T: transcribe, D: diarize},
            NAMES,
            broken=lambda: self.broken.append(None),
            reached=lambda: self.outages.append(None),
            at_once=at_once,
        )
        await self.consumer.start(self.parts.server.client)

    async def _handle(self, message: Msg, by: str) -> None:
        task_id = StoredMessage.delivered(message).task_id
        self.handled.append((task_id, by))
        await self.may_end.wait()
        if task_id == "broken":
            raise ValueError
        await message.ack()

    def has_handled(self, count: int) -> bool:
        return len(self.handled) == count

    @property
    def pulls(self) -> int:
        """How many pull requests are open."""
        return sum(1 for consumer, pull in self.parts.server.pulls if consumer == READY and not pull.done())


@pytest.fixture
async def worker(parts: Parts, constants: Constants) -> AsyncIterator[Worker]:
    constants(RETRY_AFTER_S=0.02)
    worker = Worker(parts)
    yield worker
    worker.may_end.set()
    await worker.consumer.stop(grace=1)


async def test_granted_tasks_are_passed_to_the_handlers_of_their_queues(worker: Worker, parts: Parts) -> None:
    # Given two granted tasks of different kinds
    await parts.publish("t1")
    await parts.publish("d1", D[0])
    await parts.grant()
    await parts.grant(*D)
    # When a consumer with one slot starts, then it handles one after the other, and their grants are acknowledged
    await worker.start()
    await eventually(lambda: worker.handled == [("t1", "transcription")])
    assert not worker.consumer.idle
    worker.may_end.set()
    await eventually(lambda: worker.handled == [("t1", "transcription"), ("d1", "diarization")])
    await eventually(lambda: parts.server.streams[NAMES.ready].messages == [])
    assert worker.outages == []


async def test_only_a_free_slot_has_an_open_pull(worker: Worker, parts: Parts) -> None:
    # Given a consumer with two slots
    await worker.start(at_once=2)
    # When tasks are granted, then it has one open pull until both slots are busy
    for count, task_id in enumerate(("a", "b"), 1):
        await eventually(lambda: worker.pulls == 1)
        await parts.publish(task_id)
        await parts.grant()
        await eventually(partial(worker.has_handled, count))
    assert worker.pulls == 0
    # And again when a task has ended
    worker.may_end.set()
    await eventually(lambda: worker.pulls == 1)


async def test_an_idle_consumer_offers_its_slot(worker: Worker, parts: Parts) -> None:
    offers: list[bytes] = []

    async def receive(message: Msg) -> None:
        offers.append(message.data)

    await parts.server.subscribe(subjects.FREE_SLOT, cb=receive)
    await worker.start()
    await eventually(lambda: offers == [b"recordings"])


async def test_the_grant_of_a_deleted_task_is_acknowledged(worker: Worker, parts: Parts) -> None:
    # Given a granted task that was deleted, and another one
    for task_id in ("deleted", "t1"):
        await parts.publish(task_id)
        await parts.grant()
    message = await parts.messages.find(None, 1)
    assert message is not None
    await parts.messages.delete(message)
    # When a consumer takes both grants, then it handles the other task, and settles the first grant
    await worker.start()
    await eventually(lambda: worker.handled == [("t1", "transcription")])
    assert [grant.subject for grant in parts.server.streams[NAMES.ready].messages] == ["ready.recordings.2"]


async def test_a_grant_whose_task_cannot_be_read_is_returned(
    worker: Worker, parts: Parts, nats: InMemoryNats, constants: Constants
) -> None:
    constants(FIND_TIMEOUT_S=0)
    await parts.publish("t1")
    await parts.grant()
    nats.before(GET, NatsTimeoutError())
    await worker.start()
    consumer = nats.streams[NAMES.ready].consumers[READY]
    await eventually(lambda: consumer.put_off_s == [0.02])
    assert worker.handled == []


async def test_a_grant_of_another_version_is_returned(worker: Worker, nats: InMemoryNats) -> None:
    nats.streams[NAMES.ready].publish("ready.recordings.1", b"{}", {}, nats.now)
    await worker.start()
    await eventually(lambda: nats.streams[NAMES.ready].consumers[READY].put_off_s == [0.02])


async def test_a_stopped_consumer_releases_what_arrives(worker: Worker, parts: Parts, nats: InMemoryNats) -> None:
    await worker.start()
    await eventually(lambda: worker.pulls == 1)
    await worker.consumer.stop(grace=1)
    await parts.publish("late")
    await parts.grant()
    await eventually(lambda: nats.streams[NAMES.ready].consumers[READY].again != [])
    assert worker.handled == []


async def test_a_consumer_that_stops_while_it_reads_a_task_releases_the_grant(
    worker: Worker, parts: Parts, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = asyncio.Event()

    async def read_forever(*_: object) -> None:
        reads.set()
        await asyncio.Event().wait()

    await parts.publish("t1")
    await parts.grant()
    await worker.start()
    monkeypatch.setattr("app.queue.task_messages.TaskMessages.find", read_forever)
    await reads.wait()
    await worker.consumer.stop(grace=1)
    assert nats.streams[NAMES.ready].consumers[READY].again == [1]


async def test_the_end_of_an_outage_is_reported_once(
    worker: Worker, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that does not answer pulls
    pulls = defaultdict[PullInbox, list[float]](list)  # a worker of other tests may pull in this process, too
    pull = PullInbox.pull

    async def fail(inbox: PullInbox, *_: object, within: float = 0.0, **__: object) -> list[Msg]:
        pulls[inbox].append(within)
        raise NatsTimeoutError

    constants(LINGER_S=0.05)
    monkeypatch.setattr(PullInbox, "pull", fail)
    await worker.start()
    await eventually(lambda: any(len(waits) > 3 for waits in pulls.values()))
    # Then the consumer does not wait in later pulls, so that it notices the end at once
    assert {wait for waits in pulls.values() for wait in waits[1:]} == {0.0}
    assert worker.outages == []
    # When it answers again, then this is reported once
    monkeypatch.setattr(PullInbox, "pull", pull)
    await eventually(lambda: worker.outages == [None])
    await eventually(lambda: worker.pulls == 1)
    assert worker.outages == [None]


async def test_a_handler_that_fails_ends_the_worker(worker: Worker, parts: Parts) -> None:
    await parts.publish("broken")
    await parts.grant()
    worker.may_end.set()
    await worker.start()
    await eventually(lambda: worker.broken == [None])
    assert not worker.consumer.running
