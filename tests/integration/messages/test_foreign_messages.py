"""Messages of others on the subjects of the service: they disturb nothing else, and stay where they are."""

import json

import pytest
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

pytestmark = pytest.mark.foreign


GARBAGE = [b"", b"\xff\x00", b"{}", b"[]", b'{"task_id": "t1"}']
EVENT = {
    "task_id": "t1",
    "kind": "transcription",
    "state": "queued",
    "max_attempts": 4,
    "sequence": 1,
    "time": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize("of", ["progress", "segments", "results"])
async def test_a_task_continues_after_foreign_messages_in_its_log(
    publisher: Publisher, worker: Worker, engine: FakeEngine, of: str
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    # When another client writes into its log
    for garbage in GARBAGE:
        await publisher.js.publish(f"append.{of}.t1", garbage)
    engine.may_go_on.set()
    # Then it ends nevertheless, behind that, and at the first attempt
    await eventually(lambda: publisher.is_completed("t1"))
    assert (await publisher.request("tasks.status", task_id="t1"))["attempt"] == 1


async def test_the_projection_continues_after_invalid_events(
    publisher: Publisher, worker: Worker, redis: object
) -> None:
    # Given garbage on subjects of the service's own
    for subject in ("append.progress.x", "append.results.x", "append.segments.x"):
        for garbage in (*GARBAGE, json.dumps(EVENT).encode()):
            await publisher.js.publish(subject, garbage)
    # And an event with the service's headers, of which one cannot be
    created = {"Natscribe-Created-At": "2026-01-01T00:00:00"}  # where?
    forged = {"Natscribe-Task-Sequence": "1", "Natscribe-Task-Subject": "tasks.transcription.low"} | created
    await publisher.js.publish("append.progress.t1x", json.dumps(EVENT | {"task_id": "t1x"}).encode(), headers=forged)
    # Then no consumer keeps it pending
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)

    async def settled() -> bool:
        consumers = await publisher.js.consumers_info("transcription_progress") + await publisher.js.consumers_info(
            "transcription_results"
        )
        return all(info.num_pending == 0 and info.num_ack_pending == 0 for info in consumers)

    await eventually(settled)


async def test_a_foreign_dead_letter_is_skipped(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings
) -> None:
    # Given junk among the dead letters, and a task that failed
    engine.fail_with = [PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")]
    await publisher.js.publish("append.dead_letters.transcription", b"junk")
    await publisher.publish("t1")
    await publisher.until("t1", State.FAILED)
    await eventually(lambda: queue_is_empty(publisher.js))
    # Then the dead letter of the task is found
    async with Client(settings) as client:
        assert [letter.task_id async for letter in client.dead_letters()] == ["t1"]
    # And it can be replayed, and be deleted
    assert await publisher.request("dead_letters.replay", task_id="t1") == {"replayed": 1}
    await eventually(lambda: queue_is_empty(publisher.js))
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
