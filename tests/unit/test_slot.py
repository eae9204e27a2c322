"""The slot asks lane by lane, and takes no answer for another's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import cast

import pytest
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.errors import TimeoutError as NatsTimeoutError

from app.slot import Slot
from handlers.channels import StreamNames
from schemas.wire import Kind, Priority
from tests.waiting import eventually

NAMES = StreamNames("tasks", "progress", "segments", "results", "dead_letters", "worker")
Answer = Callable[["FakeServer", str], None]


@dataclass
class FakeAnswer:
    """A task message, or the word that nothing waits."""

    reply: str = ""
    headers: dict[str, str] = field(default_factory=lambda: {"Status": "404"})


@dataclass
class FakeInbox:
    subject: str
    answers: asyncio.Queue[FakeAnswer] = field(default_factory=asyncio.Queue)
    open: bool = True

    async def next_msg(self, *, timeout: float) -> FakeAnswer:  # noqa: ASYNC109 -- as the library has it
        try:
            return await asyncio.wait_for(self.answers.get(), timeout)
        except TimeoutError:
            raise NatsTimeoutError from None

    async def unsubscribe(self) -> None:
        self.open = False


@dataclass
class FakeServer:
    """Answers the questions in the order of its script, and says that nothing waits after that."""

    script: list[Answer]
    inboxes: list[FakeInbox] = field(default_factory=list)

    def new_inbox(self) -> str:
        return f"inbox.{len(self.inboxes)}"

    async def subscribe(self, subject: str, **_: object) -> FakeInbox:
        self.inboxes.append(FakeInbox(subject))
        return self.inboxes[-1]

    async def publish(self, _: str, __: bytes, *, reply: str) -> None:
        answer = self.script.pop(0) if self.script else nothing
        answer(self, reply)

    def send(self, reply: str, answer: FakeAnswer) -> None:
        for inbox in self.inboxes:
            if inbox.open and inbox.subject == reply:
                inbox.answers.put_nowait(answer)


def silence(_: FakeServer, __: str) -> None:
    """As a server that hangs."""


def nothing(server: FakeServer, reply: str) -> None:
    server.send(reply, FakeAnswer())


@dataclass
class FakeLane:
    consumed: list[FakeAnswer] = field(default_factory=list)

    async def consume(self, message: FakeAnswer) -> None:
        self.consumed.append(message)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.pulling.ANSWER_WITHIN", 0.1)
    monkeypatch.setattr("app.slot.LOOK_EVERY", 0.01)


@pytest.fixture
def lanes() -> dict[tuple[Kind, Priority], FakeLane]:
    return {(kind, priority): FakeLane() for priority in Priority for kind in Kind}


@pytest.fixture
async def slot(lanes: dict[tuple[Kind, Priority], FakeLane]) -> AsyncIterator[Slot]:
    given = cast("dict[tuple[Kind, Priority], PullStreamSubscriber]", lanes)
    found = Slot(given, NAMES, broken=lambda: None)
    yield found
    await found.stop(grace=1)


async def test_a_late_answer_is_not_taken_for_the_next_one(
    slot: Slot, lanes: dict[tuple[Kind, Priority], FakeLane]
) -> None:
    # Given a server that misses the first question, and answers it only when the second one is asked
    late, right = FakeAnswer("ack.late", {}), FakeAnswer("ack.right", {})
    asked: list[str] = []

    def too_late(server: FakeServer, reply: str) -> None:
        asked.append(reply)
        server.send(server.inboxes[1].subject, late)  # the first one listens to accepted tasks
        nothing(server, reply)

    script = [silence, too_late, lambda server, reply: server.send(reply, right)]
    # When the slot asks lane after lane
    await slot.start(cast("Client", FakeServer(script)))

    async def served() -> bool:
        return any(lane.consumed for lane in lanes.values())

    await eventually(served)
    # Then each answer went to the lane that was asked, and the late one nowhere
    consumed = {key: lane.consumed for key, lane in lanes.items() if lane.consumed}
    assert asked
    assert consumed == {(Kind.DIARIZATION, Priority.HIGH): [right]}
