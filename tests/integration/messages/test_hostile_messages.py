"""Any bytes on any subject: never a crash, never a stuck queue, never silence."""

from datetime import UTC, datetime
from functools import partial

import pytest
from nats.aio.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis

from app.main import Worker
from app.tasks.queue.stored_message import StoredMessage
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import MESSAGES, QUEUES, filled, invented
from tests.waiting import eventually


async def test_whatever_is_published_ends(publisher: Publisher, worker: Worker, nc: Client) -> None:
    # Given the worst that anybody may publish
    messages = invented(QUEUES, MESSAGES)
    stolen: list[str] = []

    async def note(message: object) -> None:
        stolen.append(str(message))

    await nc.subscribe("stolen.>", cb=note)
    # When it is published
    for subject, body, extra in messages:
        await publisher.js.publish(subject, body, headers=extra or None)
    # Then the queue runs empty, and the worker lives
    await eventually(lambda: queue_is_empty(publisher.js), within=60 + MESSAGES / 20)
    assert worker.container.slots.running
    # And each message has ended: in the log of its id, or with a dead letter
    stored = [StoredMessage(subject, 0, datetime.now(UTC), extra, body) for subject, body, extra in messages]
    ids = [message.task_id for message in stored]
    for task_id in {message.task_id for message in stored if message.task_id}:
        status = TaskStatus.model_validate(await publisher.request("tasks.status", task_id=task_id))
        assert status.state.ended, status
    letters = (await publisher.js.stream_info("transcription_dead_letters")).state.messages
    assert letters >= ids.count(None)
    assert not stolen


def is_deep(body: bytes) -> bool:
    """Whether a body is nested more deeply than Python reads JSON."""
    return body.count(b"[") + body.count(b"{") > 500


LOGS = ["progress.t1", "segments.t1", "results.t1"]
OWN = [*LOGS, *(f"append.{log}" for log in LOGS), *(f"accepted.{queue}" for queue in QUEUES)]


@pytest.mark.foreign
@pytest.mark.parametrize("subject", OWN)
async def test_garbage_on_the_services_own_subjects_harms_no_other_task(
    publisher: Publisher, worker: Worker, nc: Client, redis: Redis, engine: FakeEngine, subject: str
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    # When the worst that anybody may publish comes where only the service publishes, and as much of it as there is room
    for _, body, extra in invented([subject], max(MESSAGES // 10, 50)):
        if not is_deep(body):
            await nc.publish(subject, body, headers=extra or None)
    await nc.publish(subject, filled(b"{", nc, {}))
    await nc.flush()
    engine.may_go_on.set()
    # Then other tasks are done, and shown
    for task_id in ("t2", "t3"):
        await publisher.publish(task_id, kind=Kind.DIARIZATION)
        await publisher.until(task_id, State.COMPLETED)
        await eventually(partial(redis.exists, f"task:{task_id}:result"))
    # And a request for the disturbed task gets a reply
    for question in ("tasks.status", "tasks.result", "tasks.delete"):
        assert isinstance(await publisher.request(question, task_id="t1"), dict)
    assert worker.container.slots.running
    assert await publisher.request("tasks.status", task_id="t2")
