"""Short recordings first: of the first few tasks of a queue the shortest, where the operator wants it."""

from functools import partial

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority
from redis.asyncio import Redis

from app.settings import Settings
from app.stream_guard.provisioning import provision
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty, results
from tests.integration.telemetry.test_metrics import TRANSCRIPTION, sample
from tests.integration.wire import Wire
from tests.waiting import eventually
from tests.workers import working

QUEUE = "transcription_worker_transcription_normal"


@pytest.fixture
def start_worker(settings: Settings, redis: Redis, wire: Wire) -> StartWorker:
    """Workers that take four tasks, and begin the shortest."""
    return partial(working, settings.model_copy(update={"priority_lookahead": 4}))


async def test_of_the_first_few_the_shortest_goes_first(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a busy worker behind which recordings of all lengths wait, and some that nobody knows the length of
    engine.may_go_on.clear()
    async with start_worker(engine) as worker:
        await publisher.publish("busy")
        await publisher.until("busy", State.RUNNING)
        for task_id, seconds in (("unknown", None), ("hour", 3600), ("nonsense", "-1"), ("minutes", 300), ("short", 5)):
            await publisher.publish(task_id, seconds=seconds)
        # And a long one of high priority
        await publisher.publish("urgent", priority=Priority.HIGH, seconds=36000)
        # When the worker goes on
        engine.may_go_on.set()
        for task_id in ("unknown", "hour", "nonsense", "minutes", "short"):
            events = await publisher.until(task_id, State.COMPLETED)
            # Then being taken and released counts as no attempt
            assert {event.attempt for event in events} == {1}
        await eventually(lambda: queue_is_empty(js))
        # And no delivery of what was begun before
        assert sample(worker, "natscribe_task_redeliveries_total", TRANSCRIPTION) == 0
    # And the shortest of four went first each time, those of unknown length last and in their order
    assert await results(js) == ["busy", "urgent", "minutes", "short", "hour", "unknown", "nonsense"]


async def test_released_tasks_stay_where_they_were(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task at work that was chosen from four
    await provision(js, settings)
    for number in range(6):
        await publisher.publish(f"t{number}", seconds=500 if number == 2 else 600)
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.until("t2", State.RUNNING)
        # When another program takes what comes next
        other = await js.pull_subscribe_bind(QUEUE, "transcription_tasks")
        waiting = await other.fetch(5, timeout=5)
        # Then the others are there, in their order, and at once
        assert [message.metadata.sequence.stream for message in waiting] == [1, 2, 4, 5, 6]
        for message in waiting:
            await message.nak()
        engine.may_go_on.set()
        for number in range(6):
            await publisher.until(f"t{number}", State.COMPLETED)


async def test_workers_that_take_the_same_tasks_share_them(publisher: Publisher, start_worker: StartWorker) -> None:
    # Given two idle workers
    first, second = FakeEngine(), FakeEngine()
    for engine in (first, second):
        engine.may_go_on.clear()
    async with start_worker(first), start_worker(second):
        # When one may take both tasks, and the other none
        await publisher.publish("a", seconds=5)
        await publisher.publish("b", seconds=5)
        a, b = await publisher.until("a", State.RUNNING), await publisher.until("b", State.RUNNING)
        # Then each has one of them all the same
        assert a[-1].worker != b[-1].worker
        first.may_go_on.set()
        second.may_go_on.set()
        await publisher.until("a", State.COMPLETED)
        await publisher.until("b", State.COMPLETED)


async def test_a_task_of_a_killed_worker_is_processed_by_another(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a worker that was killed when it had taken three tasks
    await provision(js, settings)
    for task_id in ("hour", "minutes", "short"):
        await publisher.publish(task_id, seconds={"hour": 3600, "minutes": 300, "short": 5}[task_id])
    killed = await js.pull_subscribe_bind(QUEUE, "transcription_tasks")
    assert len(await killed.fetch(3, timeout=5)) == 3
    # When another one is there
    async with start_worker(engine) as worker:
        # Then it does them after TASK_ACK_WAIT, at their first attempt, and nothing counts as begun before
        for task_id in ("hour", "minutes", "short"):
            events = await publisher.until(task_id, State.COMPLETED)
            assert {event.attempt for event in events} == {1}
        assert sample(worker, "natscribe_task_redeliveries_total", TRANSCRIPTION) == 0


async def test_delivered_and_released_tasks_are_registered(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given tasks that were published while no worker ran
    await provision(js, settings)
    for number in range(4):
        await publisher.publish(f"t{number}", seconds=10)
    # When a worker takes all of them before it begins one
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine):
        # Then all are registered
        for number in range(4):
            await publisher.until(f"t{number}", State.QUEUED)
        engine.may_go_on.set()
        for number in range(4):
            await publisher.until(f"t{number}", State.COMPLETED)
