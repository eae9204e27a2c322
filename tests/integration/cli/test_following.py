"""Following on the screen: what is said while nothing happens to the task."""

import asyncio
from contextlib import aclosing
from functools import partial

import pytest
from nats.js import JetStreamContext
from natscribe.cli.display import JsonLines, PlainLines, ShownText
from natscribe.cli.follow import follow
from natscribe.client import Client, TaskDeletedError
from natscribe.schemas.requests import TaskStatus

from app.cancellation import cancel_all
from app.embedded import NatsServer
from app.main import Worker
from app.settings import Settings
from app.stream_guard import provisioning
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.waiting import eventually


class Told(PlainLines):
    """Remembers the positions it was told."""

    def __init__(self) -> None:
        super().__init__(shown=ShownText.NONE)
        self.positions: list[int] = []

    def update_position(self, label: str, status: TaskStatus) -> None:
        self.positions.append(status.queue_position or 0)
        super().update_position(label, status)


async def test_the_place_in_the_queue_is_kept_true(
    settings: Settings, worker: Worker, engine: FakeEngine, publisher: Publisher, constants: Constants
) -> None:
    # Given a task at work, and two that wait
    constants(POSITION_EVERY_S=0.05)
    engine.may_go_on.clear()
    display = Told()
    async with Client(settings) as client:
        for task_id in ("first", "second", "third"):
            await client.create_transcription_task("meeting.flac", task_id=task_id)
            await eventually(partial(_is, publisher, task_id))
        watching = asyncio.create_task(follow(client, display, "third", "third"))
        await eventually(lambda: 2 in display.positions)
        # When the one ahead is cancelled
        await client.cancel("second")
        # Then the last one's position changes without an event
        await eventually(lambda: 1 in display.positions)
        engine.may_go_on.set()
        assert await watching


async def test_a_task_without_a_worker_is_reported(
    settings: Settings, js: JetStreamContext, constants: Constants, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a queue, but no worker
    constants(POSITION_EVERY_S=0.05)
    await provisioning.provision(js, settings)
    async with Client(settings) as client:
        task_id = await client.create_transcription_task("meeting.flac")
        # When a task in it is followed
        watching = asyncio.create_task(follow(client, JsonLines(), task_id, "meeting.flac"))
        said = ""

        async def told() -> bool:
            nonlocal said
            said += capsys.readouterr().err
            return "meeting.flac waits: NATS answers, but no worker of the service runs there" in said

        # Then the person is told what to do, once
        await eventually(told)
        while not watching.done():
            watching.cancel()  # more than once: before Python 3.12 a request may swallow its cancellation
            await asyncio.wait([watching], timeout=0.1)
    assert said.count("waits") == 1


async def test_outages_are_reported_once(nats_server: NatsServer, settings: Settings) -> None:
    # Given a client
    told: list[bool] = []
    there = settings.model_copy(update={"nats_url": nats_server.url})
    async with Client(there, on_outage=told.append):
        # When NATS goes and comes back
        await nats_server.kill()
        await eventually(lambda: told == [True])
        await nats_server.start()
        # Then each is told once
        await eventually(lambda: told == [True, False])
    # And closing is no outage
    assert told == [True, False]


async def test_a_client_leaves_quietly_when_nats_has_gone_with_its_request(
    nats_server: NatsServer, settings: Settings
) -> None:
    # Given a client that still has to send something when NATS goes
    told: list[bool] = []
    there = settings.model_copy(update={"nats_url": nats_server.url})
    # When it leaves
    # Then nothing is raised, whichever Python it is
    async with Client(there, on_outage=told.append) as client:
        await nats_server.kill()
        await eventually(lambda: told == [True])
        asking = asyncio.create_task(client.get_task_progress("t1"))
        await asyncio.wait([asking], timeout=0)
        await cancel_all([asking])


async def _is(publisher: Publisher, task_id: str) -> bool:
    found = await publisher.ask("tasks.status", task_id=task_id)
    return found.get("state") == ("running" if task_id == "first" else "queued")


async def test_a_task_that_is_deleted_is_followed_no_longer(
    settings: Settings, worker: Worker, engine: FakeEngine, publisher: Publisher
) -> None:
    # Given somebody who follows a task, and is busy with its first event
    engine.may_go_on.clear()
    await publisher.publish("t1")
    async with Client(settings) as client, aclosing(client.follow("t1")) as events:
        await anext(events)
        # When the task is deleted meanwhile
        await client.delete("t1")
        # Then following it ends with a word
        with pytest.raises(TaskDeletedError):
            async for _ in events:
                pass
