"""The position of a waiting task, and when it is expected to start."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

import pytest
from natscribe.client import Client as TaskClient
from natscribe.schemas.progress import State
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.wire import Kind, Lane, Priority

from app.engines.messages import Job, Reply
from app.main import Worker
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.telemetry.test_metrics import sample

SOON = timedelta(seconds=2)
JOB_TAKES_S = 0.12


class SteadyEngine(FakeEngine):
    """Takes the same time for each job."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        await asyncio.sleep(JOB_TAKES_S)
        async for reply in super().run(job):
            yield reply


@pytest.fixture(autouse=True)
def _forgetful(constants: Constants) -> None:
    constants(STATE_MAX_AGE_S=0)


async def position(publisher: Publisher, task_id: str) -> tuple[object, object]:
    status = await publisher.request("tasks.status", task_id=task_id)
    return status["state"], status["queue_position"]


async def test_a_task_that_a_free_worker_takes_begins_at_once(publisher: Publisher, worker: Worker) -> None:
    # Given an idle worker, when a task is published
    queued = (await publisher.reaching(State.COMPLETED, "t1"))[0]
    # Then it is the first, and is expected to start now
    assert queued.queue_position == 1
    assert queued.expected_start is not None
    assert abs(queued.expected_start - queued.time) < SOON


async def test_the_status_of_a_waiting_task_has_its_position_now(
    publisher: Publisher, busy: Worker, engine: FakeEngine
) -> None:
    # Given a busy worker behind which tasks wait
    for number in range(1, 6):
        queued = (await publisher.reaching(State.QUEUED, f"t{number}"))[0]
        # Then each has its position, and the duration of a task is not known yet
        assert (queued.queue_position, queued.expected_start) == (number, None)
    # When one in their middle is deleted, and another one and an urgent one are published
    await publisher.request("tasks.cancel", task_id="t3")
    await publisher.publish("t6")
    await publisher.reaching(State.QUEUED, "urgent", kind=Kind.DIARIZATION, priority=Priority.HIGH)
    # Then those behind them have advanced, and all are behind the urgent one
    positions = [await position(publisher, f"t{number}") for number in (1, 2, 4, 5, 6)]
    assert positions == [("queued", number) for number in (2, 3, 4, 5, 6)]
    engine.may_go_on.set()
    await publisher.until("t6", State.COMPLETED)


async def test_waiting_and_running_tasks_are_counted(publisher: Publisher, worker: Worker, engine: FakeEngine) -> None:
    # Given a busy worker behind which six tasks wait
    engine.may_go_on.clear()
    for task_id in ("busy", "t1", "t2", "t3", "t4", "t5", "t6"):
        await publisher.publish(task_id)
        events = await publisher.until(task_id, State.RUNNING if task_id == "busy" else State.QUEUED)
    # When the queues are read, then each task counts once
    queue = (await worker.container.queues.read(sample=1)).by_key[Lane.TRANSCRIPTION, Priority.NORMAL]
    assert (queue.waiting, queue.running) == (6, 1)
    assert queue.oldest is not None
    assert queue.oldest < events[0].time
    await worker.container.maintenance.measure_queues()
    assert sample(worker, "task_queue_size", ("queue_name", "tasks.transcription.normal")) == 6
    # And a client that requests the state of the queues gets the same
    overview = QueueOverview.model_validate(await publisher.request("tasks.queue"))
    by_key = {(queue.queue, queue.priority): queue for queue in overview.queues}
    assert [(key, queue.waiting, queue.running) for key, queue in by_key.items() if queue.waiting or queue.running] == [
        ((Lane.TRANSCRIPTION, Priority.NORMAL), 6, 1)
    ]
    assert by_key[Lane.TRANSCRIPTION, Priority.NORMAL].oldest == queue.oldest
    assert (len(by_key), overview.dead_letters) == (9, 0)
    engine.may_go_on.set()
    for number in range(1, 7):
        await publisher.until(f"t{number}", State.COMPLETED)


async def test_the_expected_start_is_about_true(
    publisher: Publisher, start_worker: StartWorker, settings: Settings
) -> None:
    # Given a worker, and eight tasks that take it equally long and say so
    async with start_worker(SteadyEngine()):
        for number in range(8):
            await publisher.publish(f"t{number}", seconds=30)
        # When some of them have ended
        await publisher.until("t2", State.COMPLETED)
        # And a client requests when each task starts, and at the same time when the queue will be empty
        async with TaskClient(settings) as client:
            requested_at = datetime.now(UTC)
            statuses, queue, reply = await asyncio.gather(
                asyncio.gather(*(publisher.request("tasks.status", task_id=task_id) for task_id in ("t4", "t5", "t7"))),
                client.queue(),
                publisher.request("tasks.queue"),
            )
        expected = {
            str(status["task_id"]): (requested_at, datetime.fromisoformat(str(status["expected_start"])))
            for status in statuses
        }
        newest = next(status for status in queue.queues if status.waiting).newest_start
        overview = QueueOverview.model_validate(reply)
        (reported,) = [status.newest_start for status in overview.queues if status.waiting]
        for start in (newest, reported):
            assert start is not None
            assert abs(start - expected["t7"][1]) < timedelta(seconds=0.5)
        # Then each starts about when it was expected
        for task_id, (requested_at, start) in expected.items():
            running = next(
                event for event in await publisher.until(task_id, State.RUNNING) if event.state is State.RUNNING
            )
            assert (running.time - requested_at) / 2 < start - requested_at < (running.time - requested_at) * 2
        await publisher.until("t7", State.COMPLETED)


async def test_a_task_behind_a_long_recording_has_a_late_expected_start(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given a worker that has done recordings of half a minute, of which each took it some tenths of a second
    engine = SteadyEngine()
    async with start_worker(engine) as worker:
        for number in range(3):
            await publisher.reaching(State.COMPLETED, f"done{number}", seconds=30)
        # When it works on another one, behind which one of twenty minutes waits, and then others
        engine.may_go_on.clear()
        await publisher.reaching(State.RUNNING, "busy", seconds=30)
        starts = {}
        for task_id, seconds in (("long", 1200), ("next", 30), ("unknown", None), ("last", 30)):
            await publisher.reaching(State.QUEUED, task_id, seconds=seconds)
            status = await publisher.request("tasks.status", task_id=task_id)
            starts[task_id] = status["expected_start"] and datetime.fromisoformat(status["expected_start"])
        # Then the status of the one behind it has its expected start
        takes = worker.container.queues.speed.seconds_for(Lane.TRANSCRIPTION, 1200)
        assert takes is not None
        assert takes > 40 * JOB_TAKES_S
        assert (starts["next"] - starts["long"]).total_seconds() == pytest.approx(takes, abs=2)
        # And a task behind a recording of unknown length has no expected start
        assert starts["unknown"] > starts["next"]
        assert starts["last"] is None
        engine.may_go_on.set()
        await publisher.until("last", State.COMPLETED)
