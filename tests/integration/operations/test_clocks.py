"""Workers whose clock is wrong: what decides is compared with the server's time."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial

import pytest
from natscribe.jetstream.streams import DAY_S
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

SetClock = Callable[[timedelta], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Give all parts of the workers in this process a clock that is wrong by some time."""

    def shift(by: timedelta) -> None:
        class Wrong(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> "Wrong":
                return super().now(tz) + by

        modules = [module for name, module in sys.modules.items() if name.startswith(("app.", "handlers."))]
        for module in modules:
            if getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Wrong)

    return shift


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
        # Then it starts in time
        assert timedelta() <= datetime.now(UTC) - not_before < timedelta(seconds=10)
        await publisher.until("t1", State.COMPLETED)
