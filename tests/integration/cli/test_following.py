"""Following a task: its queue position, missing workers, outages and deletion."""

import asyncio
from contextlib import aclosing
from functools import partial
from unittest.mock import Mock

import pytest
from nats.js import JetStreamContext
from natscribe.cli.display import Display, JsonLines
from natscribe.cli.follow import follow
from natscribe.client import Client, TaskDeletedError

from app.fleet.stream_guard import provisioning
from app.main import Worker
from app.runtime.cancellation import cancel_all
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.servers import NatsServer
from tests.waiting import eventually


def positions_on(display: Mock) -> list[int]:
    """The queue positions that a display has shown."""
    return [status.queue_position for (_, status), _ in display.update_position.call_args_list]


async def test_the_queue_position_is_updated_without_an_event(
    settings: Settings, worker: Worker, engine: FakeEngine, publisher: Publisher, constants: Constants
) -> None:
    # Given a running task, and two that wait
    constants(POSITION_EVERY_S=0.05)
    engine.may_go_on.clear()
    display = Mock(spec=Display)
    async with Client(settings) as client:
        for task_id in ("first", "second", "third"):
            await client.create_transcription_task("meeting.flac", task_id=task_id)
            await eventually(partial(_is, publisher, task_id))
        watching = asyncio.create_task(follow(client, display, "third", "third"))
        await eventually(lambda: 2 in positions_on(display))
        # When the task ahead is cancelled
        await client.cancel("second")
        # Then the last one's position changes without an event
        await eventually(lambda: 1 in positions_on(display))
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
        printed = ""

        async def is_reported() -> bool:
            nonlocal printed
            printed += capsys.readouterr().err
            return "meeting.flac waits: NATS answers, but no worker of the service runs there" in printed

        # Then the missing worker is reported, once
        await eventually(is_reported)
        await cancel_all([watching])
    assert printed.count("waits") == 1


async def test_outages_are_reported_once(nats_server: NatsServer, settings: Settings) -> None:
    # Given a client
    outages: list[bool] = []
    there = settings.model_copy(update={"nats_url": nats_server.url})
    async with Client(there, on_outage=outages.append):
        # When NATS is killed and restarted
        await nats_server.kill()
        await eventually(lambda: outages == [True])
        await nats_server.start()
        # Then both are reported once
        await eventually(lambda: outages == [True, False])
    # And closing is no outage
    assert outages == [True, False]


async def test_a_client_closes_without_an_error_during_an_outage(nats_server: NatsServer, settings: Settings) -> None:
    # Given a client that sends a request during an outage of NATS
    outages: list[bool] = []
    there = settings.model_copy(update={"nats_url": nats_server.url})
    # When it closes, then no error is raised, in any version of Python
    async with Client(there, on_outage=outages.append) as client:
        await nats_server.kill()
        await eventually(lambda: outages == [True])
        requesting = asyncio.create_task(client.get_task_progress("t1"))
        await asyncio.wait([requesting], timeout=0)
        await cancel_all([requesting])


async def _is(publisher: Publisher, task_id: str) -> bool:
    status = await publisher.request("tasks.status", task_id=task_id)
    return status.get("state") == ("running" if task_id == "first" else "queued")


async def test_following_a_deleted_task_ends_with_an_error(
    settings: Settings, worker: Worker, engine: FakeEngine, publisher: Publisher
) -> None:
    # Given a client that has received the first event of a task
    engine.may_go_on.clear()
    await publisher.publish("t1")
    async with Client(settings) as client, aclosing(client.follow("t1")) as events:
        await anext(events)
        # When the task is deleted meanwhile
        await client.delete("t1")
        # Then following it ends with an error
        with pytest.raises(TaskDeletedError):
            async for _ in events:
                pass
