"""The position of a waiting task, and the audio of the tasks before it."""

from natscribe.schemas.progress import State
from natscribe.schemas.task_queues import QueueOverview
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.integration.telemetry.test_metrics import sample


async def position(publisher: Publisher, task_id: str) -> tuple[object, object]:
    status = await publisher.request("tasks.status", task_id=task_id)
    return status["state"], status["queue_position"]


async def test_a_task_that_a_free_worker_takes_begins_at_once(publisher: Publisher, worker: Worker) -> None:
    # Given an idle worker, when a task is published
    queued = (await publisher.reaching(State.COMPLETED, "t1"))[0]
    # Then it is the first
    assert (queued.queue_position, queued.seconds_ahead) == (1, 0)


async def test_the_status_of_a_waiting_task_has_its_position_now(
    publisher: Publisher, busy: Worker, engine: FakeEngine
) -> None:
    # Given a busy worker behind which tasks wait
    for number in range(1, 6):
        queued = (await publisher.reaching(State.QUEUED, f"t{number}"))[0]
        # Then each has its position, and the duration of a task before it is not known
        assert (queued.queue_position, queued.seconds_ahead) == (number, None if number > 1 else 0)
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
    queue = (await worker.container.queues.read(sample=1)).by_key[TaskType.TRANSCRIPTION, Priority.NORMAL]
    assert (queue.waiting, queue.running) == (6, 1)
    assert queue.oldest is not None
    assert queue.oldest < events[0].time
    await worker.container.maintenance.measure_queues()
    assert sample(worker, "task_queue_size", ("queue_name", "tasks.transcription.normal")) == 6
    # And a client that requests the state of the queues gets the same
    overview = QueueOverview.model_validate(await publisher.request("tasks.queue"))
    by_key = {(queue.queue, queue.priority): queue for queue in overview.queues}
    assert [(key, queue.waiting, queue.running) for key, queue in by_key.items() if queue.waiting or queue.running] == [
        ((TaskType.TRANSCRIPTION, Priority.NORMAL), 6, 1)
    ]
    assert by_key[TaskType.TRANSCRIPTION, Priority.NORMAL].oldest == queue.oldest
    assert (len(by_key), overview.dead_letters) == (9, 0)
    engine.may_go_on.set()
    for number in range(1, 7):
        await publisher.until(f"t{number}", State.COMPLETED)


async def test_a_waiting_task_has_the_audio_that_is_ahead_of_it(
    publisher: Publisher, busy: Worker, engine: FakeEngine
) -> None:
    # Given a busy worker, behind which tasks of known and unknown length wait
    for task_id, seconds in (("long", 1200), ("next", 30), ("unknown", None), ("last", 30)):
        await publisher.reaching(State.QUEUED, task_id, seconds=seconds)
    # When their statuses are requested
    statuses = [
        await publisher.request("tasks.status", task_id=task_id) for task_id in ("long", "next", "unknown", "last")
    ]
    # Then each has the seconds of the recordings ahead, as far as these are known
    assert [status["seconds_ahead"] for status in statuses] == [0, 1200, 1230, None]
    engine.may_go_on.set()
    await publisher.until("last", State.COMPLETED)
