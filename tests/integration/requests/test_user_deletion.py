"""Deleting a user: all tasks of that user are deleted, in any state, and no task of another user."""

import asyncio
import json
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import pytest
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.places import places_with, read_behind_the_leader
from tests.integration.requests.conftest import Hold
from tests.waiting import eventually

DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")

ANNAS_TASKS = ("done", "old", "failed", "invalid", "forged", "runs", "waits")


@pytest.fixture(autouse=True)
def _in_a_bucket(settings: Settings, constants: Constants) -> None:
    settings.audio_store = "nats://audio"
    # The markers that prevent late workers from writing keys again expire after ten minutes.
    constants(TOMBSTONE_S=1)


@pytest.fixture
async def client(settings: Settings, worker: Worker) -> AsyncIterator[Client]:
    async with Client(settings) as connected:
        yield connected


async def publish(publisher: Publisher, task_id: str, user_id: int | str) -> None:
    """Publish a task with a recording of its own."""
    await (await publisher.js.object_store("audio")).put(f"{task_id}.flac", b"not read by a fake engine")
    await publisher.publish(task_id, audio_file_id=f"{task_id}.flac", user_id=user_id)


async def test_no_data_of_a_deleted_user_is_left(
    publisher: Publisher, worker: Worker, client: Client, engine: FakeEngine, redis: Redis
) -> None:
    # Given a user with a task that has completed, one that has failed, one that was never valid, one whose log has
    # expired, one that runs and one that waits behind it; and tasks of another user
    for task_id, user in (("her-done", "anna"), ("her-old", "anna"), ("bert-done", "bert")):
        await publish(publisher, task_id, user)
        await publisher.until(task_id, State.COMPLETED)
    await eventually(lambda: redis.exists("task:her-old:result"))
    last = await worker.container.log.last("her-old")
    assert last is not None
    await worker.container.projection.delete(last)
    await worker.container.log.purge_events("her-old")
    await worker.container.results.delete("her-old")
    engine.fail_with = [DIED]
    await publish(publisher, "her-failed", "anna")
    await publisher.until("her-failed", State.FAILED)
    invalid = {"task_id": "her-invalid", "user_id": "anna", "audio_file_id": "t.flac", "title": "unknown field"}
    await publisher.js.publish("tasks.transcription.normal", json.dumps(invalid).encode())
    await publisher.until("her-invalid", State.FAILED)
    forged = {"task_id": "her-forged", "user_id": "anna", "audio_file_id": "her-done.flac"}
    no_failure = {"Natscribe-Replay-Of": "1"}
    await publisher.js.publish("tasks.transcription.normal", json.dumps(forged).encode(), headers=no_failure)
    await publisher.until("her-forged", State.FAILED)
    await eventually(lambda: queue_is_empty(publisher.js))
    engine.may_go_on.clear()
    await publish(publisher, "her-runs", "anna")
    await publisher.until("her-runs", State.RUNNING)
    await publish(publisher, "her-waits", "anna")
    await publish(publisher, "bert-waits", "bert")
    # When the user is deleted
    assert await client.delete_user("anna") == 7
    engine.may_go_on.set()

    # Then nothing is left
    async def nowhere() -> bool:
        return not await places_with(publisher.js, redis, "anna", *(f"her-{name}" for name in ANNAS_TASKS))

    await eventually(nowhere)
    # And the data of the other user is complete
    await publisher.until("bert-waits", State.COMPLETED)
    assert (await publisher.request("tasks.status", task_id="bert-done"))["result_available"] is True
    assert (await publisher.js.stream_info("OBJ_audio")).state.messages == 2 * 2


async def test_many_tasks_are_deleted_over_several_requests(
    publisher: Publisher, client: Client, engine: FakeEngine, constants: Constants
) -> None:
    # Given a service that has time for one step, and a user with tasks in all conditions
    constants(REPLY_WITHIN_S=0)
    engine.fail_with = [DIED, DIED]
    for number in range(4):
        await publish(publisher, f"t{number}", "anna")
        await publisher.until(f"t{number}", State.COMPLETED if number > 1 else State.FAILED)
    await eventually(lambda: queue_is_empty(publisher.js))
    engine.may_go_on.clear()
    for number in range(4, 7):
        await publish(publisher, f"t{number}", "anna")
    await publisher.until("t4", State.RUNNING)
    # Then the first reply says where to continue
    first = await publisher.request("tasks.delete", user_id="anna")
    assert (first["tasks"], first["more_after"][:6]) == (1, "queue-")
    # And further requests delete the rest
    assert await client.delete_user("anna") == 6
    assert (await publisher.js.stream_info("transcription_progress")).state.messages == 0
    assert (await publisher.js.stream_info("OBJ_audio")).state.messages == 0
    engine.may_go_on.set()


async def test_a_user_may_be_deleted_twice_at_once(publisher: Publisher, client: Client) -> None:
    # Given a user with some tasks
    for number in range(5):
        await publish(publisher, f"t{number}", "anna")
    await publisher.until("t4", State.COMPLETED)
    await eventually(lambda: queue_is_empty(publisher.js))
    # When two clients delete the user at once, then both succeed
    await asyncio.gather(client.delete_user("anna"), client.delete_user("anna"))
    assert (await publisher.js.stream_info("transcription_progress")).state.messages == 0


async def test_a_task_that_is_not_registered_yet_never_runs(
    settings: Settings, publisher: Publisher, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine) as worker, Client(settings) as client:
        # Given a busy worker, and a task whose announcement was lost
        await publish(publisher, "busy", "bert")
        await publisher.until("busy", State.RUNNING)
        monkeypatch.setattr(worker.container.registration, "announce", AsyncMock())
        await publish(publisher, "t1", "anna")
        # When its user is deleted
        assert await client.delete_user("anna") == 1
        engine.may_go_on.set()
        await publisher.until("busy", State.COMPLETED)
        await eventually(lambda: queue_is_empty(publisher.js))
    # Then it has not run
    assert len(engine.jobs) == 1


async def test_a_reminder_that_is_set_after_a_deletion_is_removed(
    publisher: Publisher, worker: Worker, hold: Hold
) -> None:
    # Given a task that ends, and a worker that is about to set its reminder
    reminder = hold(worker.container.reminders, "put")
    await publish(publisher, "t1", "anna")
    await publisher.until("t1", State.COMPLETED)
    await reminder.waits.wait()
    # When the task is deleted just then
    await publisher.request("tasks.delete", task_id="t1")
    reminder.may_go.set()

    # Then no reminder is left
    async def set_and_removed() -> bool:
        state = (await publisher.js.stream_info("transcription_retention")).state
        return state.last_seq > 0 and state.messages == 0

    await eventually(set_and_removed)


async def test_the_recording_of_a_task_whose_log_has_expired_is_deleted_by_its_id(
    publisher: Publisher, worker: Worker
) -> None:
    # Given an ended task whose log has expired
    await publish(publisher, "t1", "anna")
    await publisher.until("t1", State.COMPLETED)

    async def is_noted() -> int:
        return (await publisher.js.stream_info("transcription_retention")).state.messages

    await eventually(is_noted)
    await worker.container.log.purge_events("t1")
    # When it is deleted
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    # Then its recording and its reminder are deleted
    assert (await publisher.js.stream_info("OBJ_audio")).state.messages == 0
    assert (await publisher.js.stream_info("transcription_retention")).state.messages == 0
    assert (await publisher.request("tasks.delete", task_id="t1"))["error"]["code"] == "not_found"


async def test_a_waiting_task_that_only_the_leader_knows_is_deleted(
    publisher: Publisher, worker: Worker, client: Client, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that runs
    engine.may_go_on.clear()
    await publish(publisher, "t1", "anna")
    await publisher.until("t1", State.RUNNING)
    # When its user is deleted, and a server behind the leader replies
    read_behind_the_leader(monkeypatch)
    # Then the task is deleted
    assert await client.delete_user("anna") == 1
    engine.may_go_on.set()
