"""Much that is to be shown in Redis holds up nothing else that the worker does."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.jetstream import streams
from app.jetstream.pull_inbox import PullInbox
from app.keys.projection import RedisProjection
from app.keys.projector import EVENTS, Projector
from app.log.entry import Entry, Facts
from app.settings import Settings
from schemas.progress import ProgressEvent, State
from schemas.wire import Kind

NAMES = streams.names(Settings(_env_file=None))
WITHIN = 10  # seconds


@dataclass
class FakeProjection:
    """Keeps what it is to show."""

    takes: float  # seconds
    shown: list[Entry] = field(default_factory=list)
    shown_at: float = 0.0

    async def progressed(self, entries: Sequence[Entry]) -> None:
        if self.takes:
            await asyncio.sleep(self.takes)
        self.shown += entries
        self.shown_at = asyncio.get_running_loop().time()


@dataclass
class FakeClient:
    acknowledged: list[str] = field(default_factory=list)

    async def publish(self, subject: str, *_: object, **__: object) -> None:
        self.acknowledged.append(subject)


def event(client: FakeClient, number: int) -> Msg:
    said = ProgressEvent(
        task_id=f"t{number}",
        kind=Kind.TRANSCRIPTION,
        state=State.QUEUED,
        max_attempts=1,
        sequence=1,
        time=datetime.now(UTC),
    )
    facts = Facts(None, number, "tasks.transcription.low", datetime.now(UTC))
    reply = f"$JS.ACK.{NAMES.progress}.{NAMES.progress_projection}.1.{number}.{number}.1700000000000000000.0"
    body = said.model_dump_json().encode()
    return Msg(cast("Client", client), f"progress.t{number}", reply, body, facts.headers())


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def asked(client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """As many events as the projector takes at once wait the first time it asks; set when it asks again."""
    again = asyncio.Event()
    waiting = [event(client, number) for number in range(1, EVENTS + 1)]

    async def ask(_: PullInbox, batch: int, *, within: float = 0.0) -> list[Msg]:
        del within
        if batch == EVENTS and waiting:
            messages = list(waiting)
            waiting.clear()
            return messages
        if batch == EVENTS:
            again.set()
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(PullInbox, "ask", ask)
    return again


def showing(client: FakeClient, projection: FakeProjection) -> asyncio.Task[None]:
    service = Projector(cast("Client", client), NAMES, cast("RedisProjection", projection))
    return asyncio.create_task(service.run())


async def test_while_many_events_are_shown_others_get_their_turn(client: FakeClient, asked: asyncio.Event) -> None:
    # Given a great many events, and something else that goes on
    projection, turns = FakeProjection(takes=0), 0
    run = showing(client, projection)
    # When they are shown
    async with asyncio.timeout(WITHIN):
        while len(client.acknowledged) < EVENTS:
            turns += 1
            await asyncio.sleep(0)
    # Then all are
    assert len(projection.shown) == EVENTS
    # And that went on between any few of them, while they were read, shown and acknowledged
    assert turns >= 25
    run.cancel()


async def test_what_is_shown_takes_no_more_than_half_of_the_time(client: FakeClient, asked: asyncio.Event) -> None:
    # Given events that take a while to be shown, and others behind them
    projection = FakeProjection(takes=0.3)
    run = showing(client, projection)
    async with asyncio.timeout(WITHIN):
        # When they are shown
        await asked.wait()
    # Then the worker has as long for itself before the next ones are asked for
    assert asyncio.get_running_loop().time() - projection.shown_at >= projection.takes
    run.cancel()
