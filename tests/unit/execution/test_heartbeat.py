"""The heart beats whatever the attempt waits for."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast
from unittest.mock import AsyncMock

import pytest
from nats.aio.client import Client

from app.runtime.errors import FencedError
from app.runtime.telemetry.metrics import Meter
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.heartbeat import Heartbeat
from tests.fakes.delivery import SETTINGS, FakeMessage, delivery


@dataclass
class FakeAttempt:
    """Waits for an acknowledgement forever, each time it appends."""

    record: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(event=SimpleNamespace(task_id="t1")))
    appends: asyncio.Event = field(default_factory=asyncio.Event)
    seconds_since_progress = 0.0

    async def tick(self) -> None:
        self.appends.set()
        await asyncio.Event().wait()

    async def check(self, _: int | None = None) -> None:
        """It owns its log."""


def heartbeat(
    attempt: FakeAttempt | None = None,
    *,
    message: FakeMessage | None = None,
    nats: AsyncMock | None = None,
    every: float = 0.01,
) -> AbstractAsyncContextManager[None]:
    """The heartbeat of a delivery at an interval, in seconds."""
    running = delivery(message or FakeMessage(), settings=SETTINGS.model_copy(update={"task_heartbeat": every}))
    running.attempt = cast("TaskAttempt | None", attempt)
    return beating(running, nats)


def beating(running: Delivery, nats: AsyncMock | None = None) -> AbstractAsyncContextManager[None]:
    """The heartbeat of a delivery."""
    return Heartbeat(nats or AsyncMock(spec=Client), Meter(), SETTINGS.task_timeout).during(running)


async def test_the_heartbeat_continues_during_an_append() -> None:
    # Given an attempt whose append is not acknowledged
    message, attempt = FakeMessage(), FakeAttempt()
    async with heartbeat(attempt, message=message):
        await attempt.appends.wait()
        # Then the delivery is extended nevertheless
        await message.beats_on()


async def test_the_heartbeat_continues_after_an_error() -> None:
    message = FakeMessage(away=True)
    async with heartbeat(message=message):
        await message.beats_on()


@dataclass
class FencedAttempt(FakeAttempt):
    """Was fenced before the heartbeat subscribed."""

    looked: int = 0

    async def tick(self) -> None:
        """There is nothing to append."""

    async def check(self, sequence: int | None = None) -> None:
        self.looked += 1
        raise FencedError(sequence)


async def test_an_attempt_that_was_fenced_before_the_subscription_is_stopped() -> None:
    # Given an attempt that was fenced before the heartbeat subscribes
    attempt = FencedAttempt()
    # When it works without an append, then it is stopped
    with pytest.raises(FencedError):
        async with asyncio.timeout(5), heartbeat(attempt):
            await asyncio.Event().wait()
    assert attempt.looked == 1


async def test_a_fenced_worker_stops_though_a_cancellation_is_swallowed() -> None:
    # Given work that swallows a cancellation, as nats-py does while it flushes
    async def work() -> None:
        async with heartbeat(FencedAttempt()):
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    # When it is fenced, then it stops nevertheless
    with pytest.raises(FencedError):
        await asyncio.wait_for(work(), 5)


async def test_short_work_needs_no_heartbeat() -> None:
    # Given work that is done at once
    nats, message = AsyncMock(spec=Client), FakeMessage()
    async with heartbeat(FakeAttempt(), message=message, nats=nats, every=60):
        pass
    # Then no request is sent to the server
    nats.subscribe.assert_not_awaited()
    assert message.beats == 0


async def test_the_subscription_waits_for_an_attempt_that_starts_late() -> None:
    # Given a task whose registration takes long
    attempt = FencedAttempt()
    message = FakeMessage()
    late = delivery(message, settings=SETTINGS.model_copy(update={"task_heartbeat": 0.01}))

    async def begin_late() -> None:
        async with asyncio.timeout(5), beating(late):
            await message.beats_on()
            late.attempt = cast("TaskAttempt", attempt)
            await asyncio.Event().wait()

    # When the attempt begins, then its log is watched
    with pytest.raises(FencedError):
        await begin_late()


@dataclass
class RepliedAttempt(FakeAttempt):
    """Receives its reply at the moment its work ends, as a request of nats-py can."""

    has_started: asyncio.Event = field(default_factory=asyncio.Event)
    reply: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    async def check(self, _: int | None = None) -> None:
        self.has_started.set()
        await asyncio.wait_for(self.reply, 60)  # Python 3.11 returns the reply and loses the cancellation


async def test_work_ends_though_a_heartbeat_misses_its_cancellation() -> None:
    # Given an attempt that reads its log
    attempt = RepliedAttempt()
    # When its work ends together with the reply, then nothing is waited for
    async with asyncio.timeout(5), heartbeat(attempt):
        await attempt.has_started.wait()
        attempt.reply.set_result(None)
    # And nothing of it continues
    assert asyncio.all_tasks() == {asyncio.current_task()}
