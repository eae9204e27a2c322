"""Workers whose clock is wrong: what decides is compared with the server's time."""

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial

import pytest
from natscribe.jetstream.stream_pages import pages
from natscribe.jetstream.streams import DAY_S
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.fleet.expiry import Expiry
from app.main import Worker
from app.tasks.queue.grants import Grants
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, parsed
from tests.publishers import publishers
from tests.waiting import eventually

SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Give all parts of the workers in this process a clock that is wrong by some time."""
    offset = timedelta()

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Wrong":
            return super().now(tz) + offset

    def shift(by: timedelta) -> None:
        nonlocal offset
        offset = by
        modules = [module for name, module in sys.modules.items() if name.startswith(("app.", "handlers."))]
        for module in modules:
            if getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Wrong)

    return shift


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch, constants: Constants) -> list[None]:
    """One entry for each completed search for tasks that have waited too long."""
    done: list[None] = []

    expire = Expiry.expire

    async def counted(self: Expiry, *, after: timedelta) -> None:
        await expire(self, after=after)
        done.append(None)

    monkeypatch.setattr(Expiry, "expire", counted)
    constants(EXPIRE_EVERY_S=0.1)
    return done


async def test_a_worker_whose_clock_is_days_ahead_expires_nothing(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, set_clock: SetClock, sweeps: list[None]
) -> None:
    # Given a busy worker whose clock is eight days ahead, and a task that waits
    set_clock(timedelta(days=8))
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "running")
        await publisher.reaching(State.QUEUED, "waiting")
        before = len(sweeps)
        # When it searches for tasks that have waited too long, then it finds none
        await eventually(lambda: len(sweeps) > before + 2)
        assert (await publisher.request("tasks.status", task_id="waiting"))["state"] == "queued"
        engine.may_go_on.set()
        await publisher.until("waiting", State.COMPLETED)


async def test_a_worker_whose_clock_is_days_behind_expires_what_has_waited_too_long(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    set_clock: SetClock,
    sweeps: list[None],
    constants: Constants,
) -> None:
    # Given a busy worker whose clock is eight days behind, and a task that waits
    constants(TASK_TTL_S=5.0)  # enough for the start of the first one
    set_clock(-timedelta(days=8))
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "running")
        await publisher.publish("waiting")
        # When the task has waited too long, then it fails
        assert (await publisher.until("waiting", State.FAILED))[-1].error is not None
        engine.may_go_on.set()
        await publisher.until("running", State.COMPLETED)
    assert sweeps


async def test_a_wrong_clock_makes_no_task_old(
    publisher: Publisher, worker: Worker, engine: FakeEngine, set_clock: SetClock
) -> None:
    # Given a busy worker whose clock is eight days ahead, and a task that waits
    set_clock(timedelta(days=8))
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "running")
    await publisher.publish("waiting")
    # When it measures the queues
    await worker.container.maintenance.measure_queues()
    # Then no metric reports a task that has waited for days
    metrics = worker.container.meter.exposition().decode()
    ages = re.findall(r"^natscribe_task_oldest_waiting_seconds\{.*\} (\S+)$", metrics, re.MULTILINE)
    assert 0 < max(map(float, ages)) < 60
    engine.may_go_on.set()
    await publisher.until("waiting", State.COMPLETED)


@pytest.mark.parametrize("days", [8, -8])
async def test_a_wrong_clock_takes_no_key_from_redis(
    publisher: Publisher, worker: Worker, set_clock: SetClock, redis: Redis, days: int
) -> None:
    # Given a task that is completed
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(partial(redis.exists, "task:t1:result"))
    # When a worker whose clock is wrong writes its keys
    set_clock(timedelta(days=days))
    await redis.flushdb()
    await worker.container.maintenance.restart_projection()
    for key in ("task:t1:info", "task:t1:result"):
        await eventually(partial(redis.exists, key))
        # Then they stay for seven days
        assert 6.9 < await redis.ttl(key) / DAY_S <= 7


@pytest.mark.parametrize("days", [-8, 8])
async def test_a_wrong_clock_starts_a_scheduled_task_neither_early_nor_late(
    publisher: Publisher, start_worker: StartWorker, set_clock: SetClock, days: int
) -> None:
    # Given a worker whose clock is wrong by days, when a task is scheduled
    set_clock(timedelta(days=days))
    async with start_worker(FakeEngine()):
        not_before = datetime.now(UTC) + timedelta(seconds=3)
        await publisher.publish("t1", not_before=not_before.isoformat())
        assert (await publisher.until("t1", State.SCHEDULED))[0].not_before == not_before
        await publisher.until("t1", State.RUNNING)
        # Then it starts in time, not days late; a busy machine takes its time
        assert timedelta() <= datetime.now(UTC) - not_before < timedelta(minutes=1)
        await publisher.until("t1", State.COMPLETED)


@pytest.mark.parametrize("step", [timedelta(minutes=5), timedelta(minutes=-5)], ids=["ahead", "behind"])
async def test_a_step_of_the_clock_starts_no_scheduled_task_early_or_late(
    publisher: Publisher, start_worker: StartWorker, set_clock: SetClock, constants: Constants, step: timedelta
) -> None:
    # Given a worker that has read the server's time for the last time, and scheduled tasks
    constants(STREAM_READ_EVERY_S=600.0)
    async with start_worker(FakeEngine()):
        due = {f"t{number}": datetime.now(UTC) + timedelta(seconds=5 + number / 4) for number in range(8)}
        for task_id, not_before in due.items():
            await publisher.reaching(State.SCHEDULED, task_id, not_before=not_before.isoformat())
        # When the clock of the worker steps, and back once half of the tasks have started
        set_clock(step)
        await publisher.until("t3", State.RUNNING)
        set_clock(timedelta())
        # Then each starts in time by the server's clock, not minutes late; a busy machine takes its time
        for task_id, not_before in due.items():
            await publisher.until(task_id, State.COMPLETED)
            late_by = await started_at(publisher, task_id) - not_before
            assert timedelta() <= late_by < timedelta(minutes=1), task_id


async def test_a_worker_starts_no_task_early_whoever_grants_it(publisher: Publisher, worker: Worker) -> None:
    # Given a scheduled task
    not_before = datetime.now(UTC) + timedelta(seconds=4)
    await publisher.reaching(State.SCHEDULED, "t1", not_before=not_before.isoformat())
    # When a scheduler whose clock is wrong grants it
    (message,) = await worker.container.messages.page_after(subjects.ALL_TASKS, 0, count=9)
    await Grants(publishers(publisher.nc).grants, worker.container.names).publish(message.queued_task)
    # Then the worker starts other tasks, and this one at its time
    await publisher.reaching(State.COMPLETED, "t2")
    await publisher.until("t1", State.COMPLETED)
    assert timedelta() <= await started_at(publisher, "t1") - not_before < timedelta(minutes=1)


async def started_at(publisher: Publisher, task_id: str) -> datetime:
    """When the server stored the first event `running` of a task."""
    async for page in pages(publisher.nc, "transcription_progress", subjects.progress(task_id)):
        for message in page:
            if parsed(message)["state"] == State.RUNNING and message.time is not None:
                return message.time
    raise AssertionError(task_id)
