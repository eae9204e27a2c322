"""The consumer asks the task queues one by one, and takes no answer for another's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.queue.consumer import HandleMessage, TaskConsumer
from tests.constants import Constants
from tests.waiting import eventually

NAMES = StreamNames("tasks", "progress", "segments", "results", "dead_letters", "live", "retention", "worker")
Answer = Callable[["FakeServer", str], Awaitable[None]]


@dataclass
class FakeAnswer:
    """A task message, or the status that nothing waits."""

    reply: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Status": "404"})


@dataclass
class FakeMessage:
    """The announcement of a stored message."""

    subject: str


@dataclass
class FakeInbox:
    subject: str
    receive: Callable[[FakeAnswer], Awaitable[None]]
    open: bool = True

    async def unsubscribe(self) -> None:
        self.open = False


async def nothing(server: "FakeServer", reply: str) -> None:
    await server.send(reply, FakeAnswer())


@dataclass
class FakeServer:
    """Answers requests in the order of its script; after that as `otherwise` says."""

    script: list[Answer]
    otherwise: Answer = nothing
    inboxes: list[FakeInbox] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    announce: Callable[[FakeMessage], Awaitable[None]] | None = None
    max_payload: int = 1024**2

    def new_inbox(self) -> str:
        return f"inbox.{len(self.inboxes)}"

    async def subscribe(self, subject: str, cb: Callable[[Any], Awaitable[None]]) -> FakeInbox:
        self.announce = self.announce or cb
        self.inboxes.append(FakeInbox(subject, cb))
        return self.inboxes[-1]

    async def publish(self, subject: str, _: bytes, *, reply: str) -> None:
        self.asked.append(subject.rpartition(".")[2])
        answer = self.script.pop(0) if self.script else self.otherwise
        await answer(self, reply)

    async def send(self, reply: str, answer: FakeAnswer) -> None:
        for inbox in self.inboxes:
            if inbox.open and inbox.subject == reply:
                await inbox.receive(answer)


async def silence(_: FakeServer, __: str) -> None:
    """As a server that hangs."""


@dataclass
class FakeSubscriber:
    consumed: list[FakeAnswer] = field(default_factory=list)

    async def consume(self, message: FakeAnswer) -> None:
        await asyncio.sleep(0)  # others get their turn, as with a real server
        self.consumed.append(message)


@pytest.fixture(autouse=True)
def _impatient(constants: Constants) -> None:
    constants(REQUEST_TIMEOUT_S=0.1, POLL_INTERVAL_S=0.01)


@pytest.fixture
def queues() -> dict[tuple[Lane, Priority], FakeSubscriber]:
    return {
        (kind, priority): FakeSubscriber() for priority in Priority for kind in (Lane.TRANSCRIPTION, Lane.DIARIZATION)
    }


@pytest.fixture
async def consumer(queues: dict[tuple[Lane, Priority], FakeSubscriber]) -> AsyncIterator[TaskConsumer]:
    given = {key: cast("HandleMessage", queue.consume) for key, queue in queues.items()}
    broken: list[bool] = []
    found = TaskConsumer(given, NAMES, broken=lambda: broken.append(True))
    yield found
    await found.stop(grace=1)
    assert broken == []


async def test_a_late_reply_is_not_taken_for_the_next_one(
    consumer: TaskConsumer, queues: dict[tuple[Lane, Priority], FakeSubscriber]
) -> None:
    # Given a server that answers the first request only when it gets the second one
    late, right = FakeAnswer("ack.late", {}), FakeAnswer("ack.right", {})
    asked: list[str] = []

    async def too_late(server: FakeServer, reply: str) -> None:
        asked.append(reply)
        await server.send(server.inboxes[1].subject, late)  # the first one listens to accepted tasks
        await nothing(server, reply)

    nats = FakeServer([silence, too_late, lambda server, reply: server.send(reply, right)])
    # When the consumer asks queue after queue
    await consumer.start(cast("Client", nats))

    async def served() -> bool:
        return any(queue.consumed for queue in queues.values())

    await eventually(served)
    # Then each answer went to the queue that was asked, and the late one nowhere
    consumed = {key: queue.consumed for key, queue in queues.items() if queue.consumed}
    assert asked
    assert consumed == {(Lane.DIARIZATION, Priority.HIGH): [right]}
    # And nobody listens any longer where the late one went
    assert [inbox.open for inbox in nats.inboxes[:3]] == [True, False, True]


async def test_only_the_announced_queue_is_polled(consumer: TaskConsumer, constants: Constants) -> None:
    # Given a consumer that has found all queues empty
    constants(
        POLL_ALL_AFTER_S=60, POLL_INTERVAL_S=60, SECOND_POLL_AFTER_S=0.3
    )  # a busy machine may hold the first look up
    server = await _found_all_empty(consumer)
    # When a task is announced
    assert server.announce is not None
    await server.announce(FakeMessage("accepted.tasks.diarization.low"))
    # Then no time is lost with the others, and it is asked again in case that the message comes a moment later
    await eventually(lambda: _asked(server, 8))
    assert server.asked[6:] == ["worker_diarization_low"] * 2
    # And an unknown queue is ignored
    await server.announce(FakeMessage("accepted.tasks.diarization.urgent"))


@pytest.mark.parametrize("lookahead", [1, 4])
async def test_a_queue_is_polled_again_if_its_announced_message_is_missing(
    queues: dict[tuple[Lane, Priority], FakeSubscriber], constants: Constants, lookahead: int
) -> None:
    # Given a consumer that takes one task at once or several
    constants(SECOND_POLL_AFTER_S=0.1, POLL_ALL_AFTER_S=0.4, POLL_INTERVAL_S=60)
    server = FakeServer([])
    given = {key: cast("HandleMessage", queue.consume) for key, queue in queues.items()}
    consumer = TaskConsumer(given, NAMES, broken=lambda: None, lookahead=lookahead)
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 6))
    # When another one was faster, or the announcement was faster than the consumer
    assert server.announce is not None
    await server.announce(FakeMessage("accepted.tasks.diarization.low"))
    await eventually(lambda: _asked(server, 8))
    # Then this one looks again soon, in all queues
    await eventually(lambda: _asked(server, 14))
    await consumer.stop(grace=1)


def there_after(seconds: float) -> Answer:
    """A task becomes available in the low queue of diarization so long after that queue was asked first."""
    times: list[float] = []

    async def answer(server: FakeServer, reply: str) -> None:
        if server.asked[-1] == "worker_diarization_low":
            times.append(asyncio.get_running_loop().time())
            if len(times) > 1 and times[-1] - times[0] >= seconds:
                server.otherwise = nothing
                await server.send(reply, FakeAnswer("ack", {}))
                return
        await nothing(server, reply)

    return answer


# The times of these tests are longer than those of the service, so that a busy machine does not hold up a look.
@pytest.mark.parametrize(("recheck", "seconds"), [(60, 0.2), (1, 0.5)], ids=["a moment", "some moments"])
async def test_a_message_that_comes_after_its_announcement_is_found_soon(
    consumer: TaskConsumer,
    queues: dict[tuple[Lane, Priority], FakeSubscriber],
    constants: Constants,
    recheck: float,
    seconds: float,
) -> None:
    # Given a consumer that has found all queues empty
    constants(SECOND_POLL_AFTER_S=0.3, POLL_ALL_AFTER_S=recheck, POLL_INTERVAL_S=60)
    server = await _found_all_empty(consumer)
    # When a task is announced a moment before it is available
    server.otherwise = there_after(seconds)
    assert server.announce is not None
    await server.announce(FakeMessage("accepted.tasks.diarization.low"))
    # Then it is found without the poll
    await eventually(lambda: _served(queues[Lane.DIARIZATION, Priority.LOW]))


async def test_an_announcement_during_a_poll_is_not_lost(
    consumer: TaskConsumer, queues: dict[tuple[Lane, Priority], FakeSubscriber], constants: Constants
) -> None:
    # Given a queue that is asked for a first task while a second one is announced
    constants(SECOND_POLL_AFTER_S=0.3, POLL_ALL_AFTER_S=60, POLL_INTERVAL_S=60)
    server = await _found_all_empty(consumer)
    announced = FakeMessage("accepted.tasks.diarization.low")
    assert server.announce is not None
    announce = server.announce

    async def announce_another(server: FakeServer, reply: str) -> None:
        await announce(announced)
        await nothing(server, reply)

    # When the second one is available a moment later
    server.script, server.otherwise = [announce_another], there_after(0.2)
    await announce(announced)
    # Then it is found without the poll
    await eventually(lambda: _served(queues[Lane.DIARIZATION, Priority.LOW]))


async def test_an_announcement_just_before_a_poll_of_all_queues_is_followed_up(
    consumer: TaskConsumer, queues: dict[tuple[Lane, Priority], FakeSubscriber], constants: Constants
) -> None:
    # Given a consumer that asks all queues again because of an announcement
    constants(SECOND_POLL_AFTER_S=0, POLL_ALL_AFTER_S=0.5, POLL_INTERVAL_S=60)
    server = await _found_all_empty(consumer)
    assert server.announce is not None
    await server.announce(FakeMessage("accepted.tasks.transcription.low"))
    # When another task is announced shortly before that, and is available only afterwards
    await asyncio.sleep(0.4)
    server.otherwise = there_after(0.3)
    await server.announce(FakeMessage("accepted.tasks.diarization.low"))
    # Then it is found without the poll
    await eventually(lambda: _served(queues[Lane.DIARIZATION, Priority.LOW]))


async def test_announcements_do_not_starve_other_queues(consumer: TaskConsumer, constants: Constants) -> None:
    # Given a consumer that has found all queues empty
    constants(POLL_INTERVAL_S=0.05)
    server = await _found_all_empty(consumer)

    async def other_queues_are_asked() -> bool:
        # When tasks are announced all the time, which other workers take
        assert server.announce is not None
        await server.announce(FakeMessage("accepted.tasks.diarization.low"))
        return "worker_transcription_high" in server.asked[6:]

    # Then what is delivered again in other queues is found all the same
    await eventually(other_queues_are_asked)


async def test_empty_queues_are_not_polled_again_between_two_tasks(
    consumer: TaskConsumer, queues: dict[tuple[Lane, Priority], FakeSubscriber], constants: Constants
) -> None:
    # Given tasks in a normal queue, behind empty high ones
    constants(POLL_INTERVAL_S=60)
    task = FakeAnswer("ack", {})
    server = FakeServer([nothing, nothing, *[lambda server, reply: server.send(reply, task)] * 3])
    # When a consumer has done them
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 9))
    assert sum(len(queue.consumed) for queue in queues.values()) == 3
    # Then it has asked the high ones once
    assert len([queue for queue in server.asked if queue.endswith("_high")]) == 2


async def test_a_priority_that_was_found_empty_has_no_precedence_over_a_higher_one(
    consumer: TaskConsumer, queues: dict[tuple[Lane, Priority], FakeSubscriber], constants: Constants
) -> None:
    # Given tasks of high priority, after three of which the normal queues are asked first, and are empty
    constants(POLL_INTERVAL_S=60)

    async def announce_another(server: FakeServer, reply: str) -> None:
        assert server.announce is not None
        await server.announce(FakeMessage("accepted.tasks.transcription.normal"))
        await a_task(server, reply)

    # When a normal task is announced while the next high one is taken
    server = FakeServer([a_task, a_task, a_task, nothing, nothing, announce_another, nothing, nothing, a_task])
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 9))
    # Then the high queues are asked first again
    priorities = [queue.rpartition("_")[2] for queue in server.asked[:9]]
    assert priorities == ["high"] * 3 + ["normal"] * 2 + ["high"] * 3 + ["normal"]


async def test_after_an_error_no_queue_is_taken_for_empty(consumer: TaskConsumer, constants: Constants) -> None:
    # Given a server that does not answer the request for the one queue that a task was announced for
    constants(POLL_INTERVAL_S=60)
    server = FakeServer([nothing] * 6 + [silence])
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 6))
    assert server.announce is not None
    await server.announce(FakeMessage("accepted.tasks.diarization.low"))
    await eventually(lambda: _asked(server, 7))
    # When a task is announced for another one
    await server.announce(FakeMessage("accepted.tasks.diarization.normal"))
    # Then all of them are asked
    await eventually(lambda: _asked(server, 13))
    assert len(set(server.asked[7:13])) == 6


async def test_the_end_of_an_outage_is_reported(
    queues: dict[tuple[Lane, Priority], FakeSubscriber],
) -> None:
    # Given a server that answers, and then not for two requests
    told: list[int] = []
    server = FakeServer([nothing] * 3 + [silence] * 2)
    given = {key: cast("HandleMessage", queue.consume) for key, queue in queues.items()}
    consumer = TaskConsumer(given, NAMES, broken=lambda: None, reached=lambda: told.append(len(server.asked)))
    # When it answers again
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 20))
    await consumer.stop(grace=1)
    # Then that is told once, with its first answer
    assert told == [6]


async def test_a_worker_that_is_never_idle_delays_tasks(
    queues: dict[tuple[Lane, Priority], FakeSubscriber], monkeypatch: pytest.MonkeyPatch, constants: Constants
) -> None:
    # Given a worker that has one short task after the other
    constants(LONG_WITHOUT_IDLING_S=0.1)
    given = {key: cast("HandleMessage", queue.consume) for key, queue in queues.items()}
    consumer = TaskConsumer(given, NAMES, broken=lambda: None)
    server = FakeServer([a_task])

    for queue in queues.values():
        monkeypatch.setattr(queue, "consumed", Endless(server))
    assert not consumer.delays_tasks
    await consumer.start(cast("Client", server))
    # Then others have to wait for it after a while
    await eventually(lambda: _keeps_waiting(consumer, wanted=True))
    # And no longer once it finds nothing to do
    for queue in queues.values():
        monkeypatch.setattr(queue, "consumed", [])
    await eventually(lambda: _keeps_waiting(consumer, wanted=False))
    await consumer.stop(grace=1)


async def a_task(server: FakeServer, reply: str) -> None:
    await server.send(reply, FakeAnswer(reply="ack"))


class Endless(list[FakeAnswer]):
    """Has another task come for each that is done."""

    def __init__(self, server: FakeServer) -> None:
        super().__init__()
        self._server = server

    def append(self, done: FakeAnswer) -> None:
        super().append(done)
        self._server.script.append(a_task)


async def _found_all_empty(consumer: TaskConsumer) -> FakeServer:
    server = FakeServer([])
    await consumer.start(cast("Client", server))
    await eventually(lambda: _asked(server, 6))
    return server


async def _keeps_waiting(consumer: TaskConsumer, *, wanted: bool) -> bool:
    return consumer.delays_tasks is wanted


async def _asked(server: FakeServer, times: int) -> bool:
    return len(server.asked) >= times


async def _served(queue: FakeSubscriber) -> bool:
    return len(queue.consumed) == 1
