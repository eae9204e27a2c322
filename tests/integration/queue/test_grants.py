"""Grants: each task is granted once and completes once, whichever process dies between two steps."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from natscribe.schemas.stream_names import StreamNames

from app.fleet.stream_guard.provisioning import provision
from app.main import Worker
from app.runtime.cancellation import cancel_all
from app.runtime.supervision import run_forever
from app.settings import Settings
from app.tasks.queue.task_messages import TaskMessages
from tests.constants import Constants
from tests.consumers import make_scheduler
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.execution.test_crashes import dies
from tests.integration.stream_guard.test_lease import worker_process
from tests.publishers import publishers
from tests.waiting import eventually, patiently

TASKS = [f"t{number}" for number in range(12)]
STARTS_WITHIN_S = 3.0  # after the death of the scheduler
SLACK_S = 3.0  # of a busy machine


async def no_grant_is_left(js: JetStreamContext, names: StreamNames) -> bool:
    return await queue_is_empty(js) and (await js.stream_info(names.ready)).state.messages == 0


async def complete_once(publisher: Publisher, js: JetStreamContext, names: StreamNames) -> None:
    """Wait until each task has completed, once, and nothing is left of it."""
    for task_id in TASKS:
        events = await publisher.until(task_id, State.COMPLETED)
        assert [event.state for event in events].count(State.COMPLETED) == 1
    await eventually(lambda: no_grant_is_left(js, names))


@asynccontextmanager
async def second_scheduler(worker: Worker, nc: Client) -> AsyncIterator[None]:
    """A worker that has lost the lease, and has not noticed it: it schedules tasks, too."""
    scheduler = make_scheduler(nc, worker.container.names)
    work = asyncio.create_task(run_forever("second", scheduler.run, every_s=0))
    try:
        yield
    finally:
        await cancel_all([work])


async def test_two_schedulers_grant_each_task_once(
    publisher: Publisher, worker: Worker, nc: Client, js: JetStreamContext
) -> None:
    # Given a second scheduler beside that of the worker
    async with second_scheduler(worker, nc):
        # When tasks of several users are published, then each runs once
        for number, task_id in enumerate(TASKS):
            await publisher.publish(task_id, user_id=number % 3)
        await complete_once(publisher, js, worker.container.names)
    for task_id in TASKS:
        events = await publisher.until(task_id, State.COMPLETED)
        assert {event.attempt for event in events if event.state is State.RUNNING} == {1}


@pytest.mark.usefixtures("crashes_end_slots")
@pytest.mark.parametrize(
    ("part", "method", "before"),
    [
        (TaskMessages, "find", True),  # the grant is delivered
        (TaskMessages, "delete", True),  # `completed` is appended
        (TaskMessages, "delete", False),  # the message is deleted, the grant is not acknowledged
    ],
)
async def test_a_worker_that_dies_between_two_steps_loses_no_task(
    publisher: Publisher,
    start_worker: StartWorker,
    settings: Settings,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    part: object,
    method: str,
    before: bool,
) -> None:
    # Given a worker that dies between two steps of a task
    async with start_worker(FakeEngine()) as dying:
        await publisher.reaching(State.COMPLETED, "warm-up")
        with monkeypatch.context() as deadly:
            dies(part, method, deadly, before=before)
            for task_id in TASKS:
                await publisher.publish(task_id)
            await eventually(lambda: not dying.container.slots.running)
    # When another worker starts, then each task completes once
    async with start_worker(FakeEngine()):
        await complete_once(publisher, js, settings.stream_names)


async def test_tasks_start_soon_after_the_death_of_the_scheduler(publisher: Publisher, settings: Settings) -> None:
    # Given two workers, of which the first schedules
    async with worker_process(settings) as send_to_first, worker_process(settings):
        # When the first one is killed, and a task is published at once
        send_to_first(signal.SIGKILL)
        published_at = asyncio.get_running_loop().time()
        await publisher.reaching(State.RUNNING, "t1")
        # Then the other one starts it soon
        assert asyncio.get_running_loop().time() - published_at < patiently(STARTS_WITHIN_S + SLACK_S)


async def test_the_grant_of_a_deleted_task_is_settled(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, settings: Settings, js: JetStreamContext
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "t1")
        # When it is deleted, then its worker stops, and nothing is left of it, long before its grant expires
        await publisher.request("tasks.delete", task_id="t1")
        await eventually(lambda: no_grant_is_left(js, settings.stream_names), within=5)
        # And the worker takes the next task
        engine.may_go_on.set()
        await publisher.reaching(State.COMPLETED, "t2")


async def test_tasks_of_a_recreated_stream_start(
    publisher: Publisher, start_worker: StartWorker, js: JetStreamContext, settings: Settings, constants: Constants
) -> None:
    # Given a worker that has run tasks, and does not audit its queues soon
    constants(AUDIT_EVERY_S=60, REREAD_EVERY_S=60)
    async with start_worker(FakeEngine()):
        for task_id in TASKS[:3]:
            await publisher.reaching(State.COMPLETED, task_id)
        # When the task stream is recreated, then a task starts, although its sequence was read before
        await js.delete_stream(settings.stream_names.tasks)
        await provision(js, settings)
        await publisher.reaching(State.COMPLETED, "new")


async def test_a_message_of_a_recreated_stream_is_not_deleted_for_its_sequence(
    publisher: Publisher, nc: Client, js: JetStreamContext, settings: Settings
) -> None:
    # Given a task message whose stream was deleted and created again, and the next message with the same sequence
    messages, tasks = TaskMessages(nc, publishers(nc).removed, settings.stream_names), settings.stream_names.tasks
    await provision(js, settings)
    await publisher.publish("t1")
    ended = await messages.find(None, 1)
    await js.delete_stream(tasks)
    await provision(js, settings)
    await publisher.publish("t2")
    # When the worker of the first task deletes its message
    assert ended is not None
    await messages.delete(ended)
    # Then the other message waits
    waiting = await messages.find(None, 1)
    assert waiting is not None
    assert waiting.task_id == "t2"
    # And its own message is deleted
    await messages.delete(waiting)
    assert await messages.find(None, 1) is None
