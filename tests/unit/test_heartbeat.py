"""The heart beats whatever the attempt waits for."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.attempt import TaskAttempt
from app.heartbeat import Heartbeat
from tests.waiting import eventually


@dataclass
class FakeMessage:
    """Counts the signs of life; `away` means that NATS does not take them."""

    beats: int = 0
    away: bool = False

    async def in_progress(self) -> None:
        self.beats += 1
        if self.away:
            raise NatsError


@dataclass
class FakeAttempt:
    """Waits for an acknowledgement for ever, each time it speaks."""

    entry: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(event=SimpleNamespace(task_id="t1")))
    speaks: asyncio.Event = field(default_factory=asyncio.Event)

    async def tick(self) -> None:
        self.speaks.set()
        await asyncio.Event().wait()


class FakeNats:
    """Nobody says anything."""

    async def subscribe(self, *_: object, **__: object) -> "FakeNats":
        return self

    async def unsubscribe(self) -> None:
        """There is nothing to end."""


async def beats_on(message: FakeMessage) -> None:
    before = message.beats

    async def more() -> bool:
        return message.beats > before + 2

    await eventually(more)


async def test_it_beats_while_what_is_said_waits_for_its_acknowledgement() -> None:
    # Given an attempt whose word is not acknowledged
    message, attempt = FakeMessage(), FakeAttempt()
    heartbeat = Heartbeat(cast("Client", FakeNats()), cast("Msg", message), every=0.01)
    heartbeat.follow(cast("TaskAttempt", attempt))
    async with heartbeat.beating():
        await attempt.speaks.wait()
        # Then the queue hears of it all the same
        await beats_on(message)


async def test_a_missed_beat_is_not_the_last() -> None:
    message = FakeMessage(away=True)
    async with Heartbeat(cast("Client", FakeNats()), cast("Msg", message), every=0.01).beating():
        await beats_on(message)
