"""The task consumer polls the queues in the order of priorities, and then waits for messages of all queues."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.queue.consumer import TaskConsumer
from tests.constants import Constants
from tests.waiting import eventually

NAMES = StreamNames(
    "tasks", "progress", "segments", "speakers", "results", "dead_letters", "live", "retention", "worker"
)
QUEUES = {
    f"worker_{lane.value}_{priority.value}": (lane, priority)
    for priority in Priority
    for lane in (Lane.TRANSCRIPTION, Lane.DIARIZATION)
}
HIGH, NORMAL, LOW = (f"worker_transcription_{priority}" for priority in ("high", "normal", "low"))


@dataclass
class FakeReply:
    """A delivered message; without `reply`, the status that the consumer has no message."""

    reply: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Status": "404"})


NOTHING = FakeReply()


@dataclass
class FakeSubscription:
    subject: str
    receive: Callable[[FakeReply], Awaitable[None]]


@dataclass
class FakeServer:
    """Replies to polls in the order of its script, then with NOTHING; leaves requests open that may wait."""

    script: deque[FakeReply | None] = field(default_factory=deque)  # None: no reply
    silent: bool = False  # whether the server replies to no poll
    polled: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)  # the inboxes of open requests
    released: list[str] = field(default_factory=list)
    subscriptions: list[FakeSubscription] = field(default_factory=list)
    stats: dict[str, int] = field(default_factory=lambda: {"reconnects": 0})
    max_payload: int = 1024**2

    def new_inbox(self) -> str:
        return f"inbox.{len(self.subscriptions)}"

    async def subscribe(self, subject: str, cb: Callable[[Any], Awaitable[None]]) -> FakeSubscription:
        self.subscriptions.append(FakeSubscription(subject, cb))
        return self.subscriptions[-1]

    async def publish(self, subject: str, body: bytes, *, reply: str = "") -> None:
        queue = subject.rpartition(".")[2]
        if not reply:
            self.released.append(subject)
        elif "expires" in json.loads(body):
            self.waiting[queue] = reply
        else:
            self.polled.append(queue)
            answer = self.script.popleft() if self.script else NOTHING
            if answer is not None and not self.silent:
                await self._send(reply, answer)

    async def request(self, subject: str, body: bytes, *, timeout: float) -> None:  # noqa: ASYNC109
        del timeout
        await self.publish(subject, body)

    async def deliver(self, queue: str, message: str) -> None:
        """Reply to the open request of a queue."""
        await self._send(self.waiting.pop(queue), FakeReply(message, {}))

    async def _send(self, inbox: str, reply: FakeReply) -> None:
        for subscription in self.subscriptions:
            if subscription.subject == inbox:
                await subscription.receive(reply)


@dataclass
class Worker:
    """A consumer, and the messages that its handlers have received; a handler waits for `may_end`."""

    handled: list[str] = field(default_factory=list)
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    outages: list[int] = field(default_factory=list)  # number of polls before each end of an outage
    server: FakeServer = field(default_factory=FakeServer)

    async def handle(self, message: FakeReply) -> None:
        self.handled.append(message.reply)
        await self.may_end.wait()

    async def start(self, *replies: FakeReply | None, at_once: int = 1) -> FakeServer:
        """Start the consumer at a server with these replies to polls."""
        self.server.script.extend(replies)
        self.consumer = TaskConsumer(
            dict.fromkeys(QUEUES.values(), cast("Callable[[Any], Awaitable[object]]", self.handle)),
            NAMES,
            broken=pytest.fail,
            reached=lambda: self.outages.append(len(self.server.polled)),
            at_once=at_once,
        )
        await self.consumer.start(cast("Client", self.server))
        return self.server

    async def start_idle(self, *, at_once: int = 1) -> FakeServer:
        """Start the consumer at a server without messages, and wait until a request is open for each queue."""
        server = await self.start(at_once=at_once)
        await self.waits()
        return server

    async def waits(self) -> None:
        await eventually(lambda: self.server.waiting.keys() == QUEUES.keys())


@pytest.fixture
async def worker(constants: Constants) -> AsyncIterator[Worker]:
    constants(REQUEST_TIMEOUT_S=0.1, RETRY_AFTER_S=0.05, RECONNECTION_CHECK_S=0.02)
    worker = Worker()
    yield worker
    worker.may_end.set()
    await worker.consumer.stop(grace=1)


async def test_an_idle_consumer_polls_each_queue_once_in_order_and_then_waits(worker: Worker) -> None:
    server = await worker.start_idle()
    assert server.polled == list(QUEUES)


async def test_of_messages_that_arrive_together_the_most_urgent_is_handled(worker: Worker) -> None:
    # Given an idle consumer
    server = await worker.start_idle()
    # When messages of several queues arrive together
    for queue in (LOW, HIGH, NORMAL):
        await server.deliver(queue, queue)
    # Then the most urgent is handled without a poll, and the others are released
    await eventually(lambda: sorted(server.released) == [LOW, NORMAL])
    assert worker.handled == [HIGH]
    assert len(server.polled) == len(QUEUES)


async def test_a_message_that_arrives_at_a_busy_consumer_is_released(worker: Worker) -> None:
    # Given a consumer that handles a message
    server = await worker.start_idle()
    await server.deliver(LOW, "first")
    await eventually(lambda: worker.handled == ["first"])
    # When another message arrives
    await server.deliver(HIGH, "second")
    # Then the message is released
    await eventually(lambda: server.released == ["second"])
    # And the queues without an open request are polled next
    worker.may_end.set()
    await worker.waits()
    assert server.polled[len(QUEUES) :] == [HIGH, LOW]
    assert worker.handled == ["first"]


async def test_messages_are_handled_together_while_there_is_room(worker: Worker) -> None:
    server = await worker.start_idle(at_once=2)
    for queue in (LOW, NORMAL, HIGH):
        await server.deliver(queue, queue)
    await eventually(lambda: worker.handled == [HIGH, NORMAL])
    await eventually(lambda: server.released == [LOW])


@pytest.mark.parametrize("reconnects", [True, False])
async def test_a_lost_request_is_sent_again(worker: Worker, constants: Constants, *, reconnects: bool) -> None:
    # Given open requests that NATS has lost
    constants(LINGER_S=600 if reconnects else 0.3)
    server = await worker.start_idle()
    server.waiting.clear()
    # When the client reconnects, or no heartbeat arrives
    server.stats["reconnects"] += reconnects
    # Then all requests are sent again, each after a poll
    await worker.waits()
    assert sorted(server.polled[len(QUEUES) :]) == sorted(QUEUES)
    # And a message is handled
    await server.deliver(LOW, "late")
    await eventually(lambda: worker.handled == ["late"])


async def test_the_end_of_an_outage_is_reported_once(worker: Worker) -> None:
    # Given a server that stops to reply
    server = await worker.start(NOTHING, NOTHING, None)
    await eventually(lambda: not server.script)
    server.silent = True
    await eventually(lambda: len(server.polled) > 3 * len(QUEUES))
    assert worker.outages == []
    # When the server replies again
    server.silent = False
    # Then this is reported once
    await worker.waits()
    assert len(worker.outages) == 1


async def test_a_queue_that_does_not_answer_delays_no_message_of_another_queue(worker: Worker) -> None:
    # Given a consumer without an open request for the high queue
    server = await worker.start_idle()
    await server.deliver(HIGH, "first")
    await eventually(lambda: worker.handled == ["first"])
    # When this queue does not answer any more
    server.silent = True
    worker.may_end.set()
    await eventually(lambda: server.polled[len(QUEUES) :] != [])
    # Then a message of another queue is handled
    await server.deliver(LOW, "second")
    await eventually(lambda: worker.handled == ["first", "second"])


async def test_a_stopped_consumer_releases_what_arrives(worker: Worker) -> None:
    server = await worker.start_idle()
    await worker.consumer.stop(grace=1)
    await server.deliver(LOW, "late")
    assert (server.released, worker.handled) == (["late"], [])


async def test_a_priority_that_was_found_empty_has_no_precedence_over_a_higher_one(worker: Worker) -> None:
    # Given three messages of high priority, after which the normal queues are polled first, and are empty
    message = FakeReply("ack", {})
    worker.may_end.set()
    server = await worker.start(message, message, message, NOTHING, NOTHING, message, NOTHING, NOTHING)
    await worker.waits()
    # Then the high queues are polled first again
    priorities = [queue.rpartition("_")[2] for queue in server.polled]
    assert priorities == ["high"] * 3 + ["normal"] * 2 + ["high"] * 3 + ["normal"] * 2 + ["low"] * 2


async def test_a_worker_that_is_never_idle_delays_tasks(worker: Worker, constants: Constants) -> None:
    # Given a worker that has one short task after the other
    constants(LONG_WITHOUT_IDLING_S=0.1)
    worker.may_end.set()
    server = await worker.start(*[FakeReply("ack", {})] * 100_000)
    # Then it delays other tasks after a while
    await eventually(lambda: worker.consumer.delays_tasks)
    # And no longer when no message is left
    server.script.clear()
    await eventually(lambda: not worker.consumer.delays_tasks)
