"""Scheduled tasks: they wait until their `not_before`, are listed with it, and can be cancelled and deleted."""

import json
from datetime import UTC, datetime, timedelta

from natscribe.schemas.progress import ProgressEvent, State
from redis.asyncio import Redis

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.telemetry.test_metrics import sample
from tests.waiting import eventually, patiently

MONTHS = timedelta(days=90)
STARTS_WITHIN = timedelta(seconds=2)  # of its time, if a worker is free
ALLOWANCE = timedelta(seconds=1)  # for a machine that runs other tests: at a load of 22, 30 starts took 0.35 s at most


def ahead(time: timedelta) -> str:
    return (datetime.now(UTC) + time).isoformat()


def is_in_time(events: list[ProgressEvent], not_before: str, *, free_since: datetime | None = None) -> bool:
    """Return whether a task started soon after its time, or after a worker was free, and not before its time."""
    running = next(event.time for event in events if event.state is State.RUNNING)
    due_at = datetime.fromisoformat(not_before)
    return due_at <= running <= max(due_at, free_since or due_at) + patiently(1) * (STARTS_WITHIN + ALLOWANCE)


async def test_a_task_starts_at_its_time(publisher: Publisher, worker: Worker) -> None:
    # Given a task that may start in a moment, and an idle worker
    not_before = ahead(timedelta(seconds=3))
    await publisher.publish("t1", not_before=not_before)
    # Then it is scheduled, and starts in time
    events = await publisher.until("t1", State.COMPLETED)
    assert events[0].state is State.SCHEDULED
    assert events[0].not_before == datetime.fromisoformat(not_before)
    assert is_in_time(events, not_before)
    # And in the meantime the worker served another task
    await publisher.publish("t2", not_before=ahead(MONTHS))
    await publisher.reaching(State.COMPLETED, "t3")
    assert (await publisher.request("tasks.status", task_id="t2"))["state"] == "scheduled"


async def test_a_task_that_is_due_and_has_to_wait_is_queued(
    publisher: Publisher, busy: Worker, engine: FakeEngine
) -> None:
    # Given a busy worker, and a task that may start in a moment
    await publisher.publish("t1", not_before=ahead(timedelta(seconds=3)))
    # When its time has come, then it is queued
    events = await publisher.until("t1", State.QUEUED)
    assert [event.state for event in events] == [State.SCHEDULED, State.QUEUED]
    assert events[1].not_before is None

    # And it has a position, at the latest once the scheduler knows that it is due, too
    async def has_position() -> bool:
        return bool((await publisher.request("tasks.status", task_id="t1"))["queue_position"] == 1)

    await eventually(has_position)
    engine.may_go_on.set()
    await publisher.until("t1", State.COMPLETED)


async def test_a_scheduled_task_survives_its_worker(publisher: Publisher, start_worker: StartWorker) -> None:
    # Given a scheduled task whose worker stops before its time
    async with start_worker(FakeEngine()):
        not_before = ahead(timedelta(seconds=5))
        await publisher.reaching(State.SCHEDULED, "t1", not_before=not_before)
    # When another worker has started, then the task starts in time
    async with start_worker(FakeEngine()) as worker:
        await eventually(lambda: worker.container.lease.held)
        free_since = datetime.now(UTC)
        assert is_in_time(await publisher.until("t1", State.COMPLETED), not_before, free_since=free_since)


async def test_a_scheduled_task_is_listed_with_its_time(publisher: Publisher, worker: Worker, redis: Redis) -> None:
    # Given a scheduled task, and one that has ended
    not_before = ahead(MONTHS)
    await publisher.publish("t1", not_before=not_before)
    await publisher.publish("t2")
    await publisher.until("t1", State.SCHEDULED)
    await publisher.until("t2", State.COMPLETED)
    # Then its status and Redis have its time
    status = await publisher.request("tasks.status", task_id="t1")
    assert (status["state"], status["queue_position"]) == ("scheduled", None)
    assert datetime.fromisoformat(status["not_before"]) == datetime.fromisoformat(not_before)

    async def info() -> bool:
        return bool(json.loads(await redis.get("task:t1:info") or "{}").get("not_before") == status["not_before"])

    await eventually(info)
    # And the list of scheduled tasks has it alone
    (listed,) = (await publisher.request("tasks.list", state="scheduled"))["tasks"]
    assert (listed["task_id"], listed["not_before"]) == ("t1", status["not_before"])


async def test_scheduled_tasks_do_not_count_as_waiting(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given a busy worker, and a task that waits behind many scheduled ones
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "busy")
    for number in range(60):
        await publisher.publish(f"t{number}", not_before=ahead(MONTHS))
    published_at = datetime.now(UTC)
    await publisher.reaching(State.QUEUED, "waits")

    async def counts() -> bool:
        queue = (await publisher.request("tasks.queue"))["queues"][3]
        is_oldest = queue["oldest"] is not None and datetime.fromisoformat(queue["oldest"]) >= published_at
        return (queue["waiting"], queue["scheduled"], queue["running"], is_oldest) == (1, 60, 1, True)

    # Then the queue has one waiting task, which is the oldest, and the others are counted on their own
    await eventually(counts)
    await worker.container.maintenance.measure_queues()
    name = ("queue_name", "tasks.transcription.normal")
    assert [sample(worker, metric, name) for metric in ("task_queue_size", "natscribe_task_scheduled")] == [1, 60]
    assert (sample(worker, "natscribe_task_oldest_waiting_seconds", name) or 0) < 30
    engine.may_go_on.set()
    await publisher.until("waits", State.COMPLETED)


async def test_a_scheduled_task_can_be_cancelled_and_deleted(publisher: Publisher, worker: Worker) -> None:
    # Given scheduled tasks
    for task_id in ("t1", "t2"):
        await publisher.publish(task_id, not_before=ahead(MONTHS))
        await publisher.until(task_id, State.SCHEDULED)
    # When one is cancelled and the other deleted
    assert (await publisher.request("tasks.cancel", task_id="t1"))["state"] == "cancelled"
    assert (await publisher.request("tasks.delete", task_id="t2"))["deleted"] is True
    # Then one has ended, and nothing is left of the other
    events = await publisher.until("t1", State.CANCELLED)
    assert [event.state for event in events] == [State.SCHEDULED, State.CANCELLED]
    assert (await publisher.request("tasks.status", task_id="t2"))["error"]["code"] == "not_found"
    state = (await publisher.js.stream_info("transcription_tasks")).state
    assert state.messages == 0


async def test_a_task_that_is_scheduled_too_far_ahead_fails(publisher: Publisher, worker: Worker) -> None:
    await publisher.publish("t1", not_before="2999-01-01T00:00:00Z")
    (event,) = await publisher.until("t1", State.FAILED)
    assert event.error is not None
    assert event.error.code == "invalid_message"
    assert "at most a year ahead" in event.error.message
