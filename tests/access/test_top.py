"""`natscribe top` for each user of the production stack."""

import asyncio

from natscribe.cli import top
from natscribe.cli.top.dashboard import Dashboard
from natscribe.client import Client

from app.main import Worker
from app.settings import Settings
from tests.access.servers import CLIENTS, RECORDING, login
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually


async def seen(settings: Settings) -> Dashboard:
    board = Dashboard()
    async with Client(settings) as client:
        await top.read_once(client, board)
    return board


async def test_each_client_sees_what_runs_waits_and_has_failed(
    settings: Settings, worker: Worker, engine: FakeEngine
) -> None:
    # Given a task that has failed, one that runs, and one that waits
    async with Client(login(settings, "publisher")) as client:
        failed = await client.create_transcription_task("gone.flac", task_id="gone")
        assert [event async for event in client.follow(failed)]
        engine.may_go_on.clear()
        await client.create_transcription_task(RECORDING, task_id="runs")
        await client.create_transcription_task(RECORDING, task_id="waits")

        async def listed() -> bool:
            page = await client.tasks(limit=3)
            return {(task.task_id, str(task.state)) for task in page.tasks} >= {("runs", "running"), ("gone", "failed")}

        await eventually(listed)
        # When each user looks
        users = (*CLIENTS, "monitoring")
        boards = dict(zip(users, await asyncio.gather(*(seen(login(settings, user)) for user in users)), strict=True))
        engine.may_go_on.set()
    # Then each kind of client sees all of it
    for user in CLIENTS:
        board = boards[user]
        assert board.problems == {}, user
        assert list(board.running) == ["runs"]
        assert [failure.task_id for failure in board.failures] == ["gone"]
        assert board.queue is not None
        assert sum(queue.waiting for queue in board.queue.queues) == 1
    # And another user is told what it lacks
    troubles = boards["monitoring"].problems
    assert set(troubles) == {"queue", "list", "progress"}
    assert all("log in as publisher or follower or operator" in each for each in troubles.values())
