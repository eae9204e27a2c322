"""A slot is free as soon as a result is there: it is written down while the next task runs."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from nats.aio.msg import Msg
from nats.errors import OutboundBufferLimitError
from nats.js import JetStreamContext

from app.delivery.settling import Settler
from app.log.entry import Facts
from app.log.results import ResultStore
from app.main import Worker
from app.queue import deliveries
from app.settings import Settings
from handlers.ports import Result
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty, results
from tests.integration.test_metrics import TRANSCRIPTION, sample
from tests.waiting import eventually


class SlowDisk:
    """Lets results through one by one."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.may_be_stored = asyncio.Event()


@pytest.fixture
async def slow_disk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SlowDisk]:
    disk, publish = SlowDisk(), ResultStore.publish

    async def slowly(self: ResultStore, result: Result, facts: Facts) -> None:
        disk.waiting.append(result.task_id)
        await disk.may_be_stored.wait()
        await publish(self, result, facts)

    monkeypatch.setattr(ResultStore, "publish", slowly)
    yield disk
    disk.may_be_stored.set()


async def test_the_next_task_begins_while_a_result_is_written_down(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, slow_disk: SlowDisk, js: JetStreamContext
) -> None:
    # Given a worker whose result takes long to be stored
    async with start_worker(engine):
        await publisher.publish("t1")
        await eventually(lambda: _waits(slow_disk, 1))
        # When there is another task, then it need not wait for that
        await publisher.publish("t2")
        await publisher.until("t2", State.RUNNING)
        await eventually(lambda: _waits(slow_disk, 2))
        assert await results(js) == []
        # And both end
        slow_disk.may_be_stored.set()
        for task_id in ("t1", "t2"):
            await publisher.until(task_id, State.COMPLETED)
        await eventually(lambda: queue_is_empty(js))


async def test_no_more_results_are_held_than_memory_is_meant_for(
    publisher: Publisher,
    start_patient_worker: StartWorker,
    engine: FakeEngine,
    slow_disk: SlowDisk,
    js: JetStreamContext,
) -> None:
    # Given as many results as may wait for the disk
    most = 1 + deliveries.BESIDE
    async with start_patient_worker(engine) as worker:
        for number in range(most + 1):
            await publisher.publish(f"t{number}")
        await eventually(lambda: _waits(slow_disk, most))
        # When there is one more task, then it waits in the queue, where any worker can take it
        status = await publisher.ask("tasks.status", task_id=f"t{most}")
        assert status["state"] == "queued"
        assert len(engine.jobs) == most
        lane = await js.consumer_info("transcription_tasks", "transcription_worker_transcription_normal")
        assert lane.num_ack_pending == most
        # And the slot counts as free, not as busy with nine
        assert sample(worker, "task_in_progress", TRANSCRIPTION) == 0
        # Until a result is stored
        slow_disk.may_be_stored.set()
        await publisher.until(f"t{most}", State.COMPLETED)


async def test_a_stop_lets_results_be_written_down(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, slow_disk: SlowDisk, js: JetStreamContext
) -> None:
    # Given a worker whose result is on its way to the disk
    async with start_worker(engine) as worker:
        await publisher.publish("t1")
        await eventually(lambda: _waits(slow_disk, 1))
        # When it is stopped
        stopping = asyncio.create_task(worker.slot.stop(grace=10))
        await eventually(lambda: _asks_no_more(worker))
        assert not stopping.done()
        slow_disk.may_be_stored.set()
        await stopping
    # Then the result is there, and nobody has to do it again
    await eventually(lambda: queue_is_empty(js))
    states = [event.state for event in await publisher.until("t1", State.COMPLETED)]
    assert states.count(State.QUEUED) == 1


async def test_a_stop_gives_back_what_the_disk_does_not_take(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, slow_disk: SlowDisk, settings: Settings
) -> None:
    # Given a worker whose result is on its way to a disk that hangs
    async with start_worker(engine) as worker:
        await publisher.publish("t1")
        await eventually(lambda: _waits(slow_disk, 1))
        # When its time is over
        await worker.slot.stop(grace=0)
    # Then the next one has the task, which counts as no failure
    slow_disk.may_be_stored.set()
    async with start_worker(FakeEngine()):
        events = await publisher.until("t1", State.COMPLETED)
    assert [event.state for event in events if event.state is not State.RUNNING][-2:] == [State.QUEUED, State.COMPLETED]
    assert {event.attempt for event in events} == {1}


async def _waits(disk: SlowDisk, count: int) -> bool:
    return len(disk.waiting) >= count


async def _asks_no_more(worker: Worker) -> bool:
    return not worker.slot.running


async def test_a_worker_outlives_an_acknowledgement_that_cannot_be_sent(
    publisher: Publisher, worker: Worker, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a connection that takes nothing more when a task is to be acknowledged
    done = Settler.done
    sent = asyncio.Event()

    async def fail_once(self: Settler, message: Msg) -> None:
        if not sent.is_set():
            sent.set()
            raise OutboundBufferLimitError
        await done(self, message)

    monkeypatch.setattr(Settler, "done", fail_once)
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    await sent.wait()
    # When the next one is published
    await publisher.publish("t2")
    # Then the worker does it, and takes the first from the queue when that is delivered again
    await publisher.until("t2", State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
