"""The keys in Redis: there at once on a new service, and caught up where Redis has lost its data."""

import json

from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.main import Service
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually


async def test_a_new_service_shows_its_first_task_at_once(
    publisher: Publisher, start_worker: StartWorker, redis: Redis
) -> None:
    # Given servers that have never seen the service
    with capture_logs() as lines:
        async with start_worker(FakeEngine()) as worker:
            await publisher.publish("t1")
            await publisher.until("t1", State.COMPLETED)

            async def shown() -> bool:
                info = await redis.get("task:t1:info")
                return info is not None and json.loads(info)["state"] == "completed"

            # Then its keys come with the events
            await eventually(shown, within=2)
            # And nothing is projected a second time
            await worker.watch.catch_up()
    assert "projection_begins_anew" not in {line["event"] for line in lines}


async def test_a_redis_that_lost_its_data_is_caught_up(publisher: Publisher, worker: Service, redis: Redis) -> None:
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    await eventually(lambda: redis.get("task:t1:result"))
    await redis.flushdb()
    await worker.watch.catch_up()
    await eventually(lambda: redis.get("task:t1:result"))
    assert json.loads(await eventually(lambda: redis.get("task:t1:info")))["state"] == "completed"
