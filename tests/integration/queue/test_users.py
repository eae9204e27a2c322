"""Users: what one may run and wait follows quotas, and `tasks.queue` reports it."""

from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext
from nats.js.kv import KeyValue
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.quotas import QUOTAS_BUCKET

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.integration.telemetry.test_metrics import sample
from tests.waiting import eventually

ANNA = "ImFubmEi"  # the key of "anna"


@pytest.fixture
async def workers(start_worker: StartWorker) -> AsyncIterator[list[Worker]]:
    """Two workers whose tasks do not end before they are allowed to."""
    engines = FakeEngine(), FakeEngine()
    for engine in engines:
        engine.may_go_on.clear()
    async with start_worker(engines[0]) as first, start_worker(engines[1]) as second:
        yield [first, second]
        for engine in engines:
            engine.may_go_on.set()


@pytest.fixture
async def quotas(workers: list[Worker], js: JetStreamContext) -> KeyValue:
    return await js.key_value(QUOTAS_BUCKET)


async def set_quota(workers: list[Worker], quotas: KeyValue, **limits: int) -> None:
    """Write a quota of anna, and wait until both workers know it."""
    await quotas.put(ANNA, str(limits).replace("'", '"').encode())
    for worker in workers:
        quota = worker.container.quotas.of
        await eventually(lambda: all(getattr(quota("anna"), name) == value for name, value in limits.items()))  # noqa: B023 -- awaited here


async def test_a_user_runs_no_more_tasks_than_allowed(
    publisher: Publisher, workers: list[Worker], quotas: KeyValue
) -> None:
    # Given a user who may run one task, and publishes two before another user publishes one
    await set_quota(workers, quotas, max_running=1)
    for task_id in ("a1", "a2"):
        await publisher.publish(task_id, user_id="anna")
    await publisher.until("a1", State.RUNNING)
    await publisher.until("a2", State.QUEUED)
    await publisher.publish("b1", user_id="boris")
    # Then the other user's task runs beside the first
    await publisher.until("b1", State.RUNNING)
    assert (await publisher.request("tasks.status", task_id="a2"))["state"] == "queued"
    # And when that has ended and the user may run two, both run
    await set_quota(workers, quotas, max_running=2)
    await publisher.request("tasks.cancel", task_id="b1")
    await publisher.until("a2", State.RUNNING)


async def test_a_task_beyond_the_quota_fails_and_names_the_limit(
    publisher: Publisher, workers: list[Worker], quotas: KeyValue
) -> None:
    # Given a user who may run one task and have one waiting, and has as many; a scheduled one does not count
    await set_quota(workers, quotas, max_running=1, max_waiting=1)
    for task_id, state in (("runs", State.RUNNING), ("waits", State.QUEUED)):
        await publisher.reaching(state, task_id, user_id="anna")
    await publisher.reaching(State.SCHEDULED, "later", user_id="anna", not_before="2027-01-01T00:00:00Z")
    # When the user publishes another task
    failed = (await publisher.reaching(State.FAILED, "beyond", user_id="anna"))[-1]
    # Then it fails, and the others continue
    assert failed.error is not None
    assert failed.error.code is ErrorCode.QUOTA_EXCEEDED
    assert "allows (1)" in failed.error.message
    for task_id, unchanged in (("runs", "running"), ("waits", "queued"), ("later", "scheduled")):
        assert (await publisher.request("tasks.status", task_id=task_id))["state"] == unchanged
    # And another user is not affected
    await publisher.reaching(State.RUNNING, "b1", user_id="boris")


async def test_the_users_are_reported_by_each_worker_and_in_metrics(
    publisher: Publisher, workers: list[Worker], quotas: KeyValue
) -> None:
    # Given two users, of whom one has waiting tasks only
    await set_quota(workers, quotas, max_running=2)
    for number in range(3):
        await publisher.publish(f"a{number}", user_id="anna", seconds=100)
    for task_id in ("a0", "a1"):
        await publisher.until(task_id, State.RUNNING)
    await publisher.publish("b1", user_id=7, seconds=10)
    expected = [("anna", 1, 2, 100), (7, 1, 0, 10)]

    async def reported() -> bool:
        users = (await publisher.request("tasks.queue"))["users"]
        return [(user["user_id"], user["waiting"], user["running"], user["waiting_seconds"]) for user in users] == (
            expected
        )

    # Then `tasks.queue` has both, whichever worker replies
    for _ in range(6):
        await eventually(reported)
    # And the metrics have no ids
    (holder,) = [worker for worker in workers if worker.container.lease.held]
    assert sample(holder, "natscribe_users_waiting") == 2
    assert sample(holder, "natscribe_user_fairness_ratio") == 1
    await eventually(lambda: (sample(holder, "natscribe_user_longest_wait_seconds") or 0) > 0)
    assert "anna" not in holder.container.meter.exposition().decode()
