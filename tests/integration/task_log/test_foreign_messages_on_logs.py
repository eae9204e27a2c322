"""Garbage on subjects of the service: no client sees it, other tasks are not affected, and no queue is stuck."""

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from app.tasks.task_log.record import Metadata
from tests.fakes.engine import FakeEngine
from tests.fakes.messages import event
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

pytestmark = pytest.mark.foreign


@pytest.mark.parametrize("of", ["progress", "results"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"a":' * 10_000], ids=["lists", "objects"])
async def test_what_nests_too_deeply_does_not_stop_the_projection(
    publisher: Publisher, worker: Worker, nc: Client, js: JetStreamContext, redis: Redis, of: str, body: bytes
) -> None:
    # When a body that Python cannot read as JSON for its depth comes to the projection
    await js.publish(f"append.{of}.other", body)
    # Then it is let go, rather than delivered again and again before all else
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(lambda: redis.exists("task:t1:result"), within=10)

    async def let_go() -> bool:
        info = await js.consumer_info(f"transcription_{of}", f"transcription_worker_projection_{of}")
        return bool(info.num_ack_pending == info.num_redelivered == info.num_pending == 0)

    await eventually(let_go, within=10)


async def test_events_that_name_no_task_queue_do_not_stop_the_projection(
    publisher: Publisher, worker: Worker, js: JetStreamContext, redis: Redis
) -> None:
    # Given events that look as if the service had written them, but for the subject of their task
    queued = event(task_id="other")
    for subject in ("tasks.transcription", "tasks.transcription.urgent", "normal"):
        headers = Metadata(None, 1, subject, queued.time).headers()
        await js.publish("append.progress.other", queued.model_dump_json().encode(), headers=headers)
    # When a task follows them, then it is projected, and nothing else
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(lambda: redis.exists("task:t1:info"), within=10)
    assert not await redis.exists("task:other:info")


@pytest.mark.parametrize("of", ["progress", "results"])
@pytest.mark.parametrize("body", [b"{", b"[" * 100_000, b"\x00"], ids=["cut off", "lists", "no text"])
async def test_a_task_with_a_corrupt_log_does_not_stay_in_the_queue(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, of: str, body: bytes
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When another client writes into its log, or on the subject of its result
    await js.publish(f"append.{of}.t1", body)
    engine.may_go_on.set()
    # Then its message is not redelivered indefinitely
    await eventually(lambda: queue_is_empty(js), within=15)
    # And the reply to a request says more than that something is broken
    reply = await publisher.request("tasks.status", task_id="t1")
    assert reply.get("state") in {"failed", "completed"}, reply
