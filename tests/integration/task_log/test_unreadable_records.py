"""Records that only a later version can read: no worker takes them for missing, or changes their tasks."""

import json
from functools import partial
from typing import Any

import pytest
from nats.js import JetStreamContext
from natscribe.jetstream import cloud_events
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually

pytestmark = pytest.mark.foreign

LATER = b'{"a later version": "has changed everything"}'
REQUESTS = (subjects.STATUS, subjects.RESULT, subjects.CANCEL, subjects.DELETE)


async def write(js: JetStreamContext, of: str, task_id: str, body: bytes = LATER) -> int:
    """Append a record of a later version to the log of a task; return its stream sequence."""
    headers = cloud_events.headers(of, "natscribe/later", f"{of} {task_id}", task_id=task_id)
    return (await js.publish(f"append.{of}.{task_id}", body, headers=headers)).seq


async def last(js: JetStreamContext, of: str, task_id: str) -> int:
    return (await js.get_last_msg(f"transcription_{of}", f"{of}.{task_id}")).seq or 0


async def assert_refused(publisher: Publisher, task_id: str, *requests: str) -> None:
    for subject in requests:
        error = (await publisher.request(subject, task_id=task_id))["error"]
        assert (error["code"], "another version" in error["message"]) == ("internal", True), (subject, error)


@pytest.mark.parametrize("of", ["progress", "segments", "results"])
async def test_a_task_is_left_to_a_worker_that_can_read_its_records(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext, of: str
) -> None:
    # Given a running task whose worker was lost, and a record of a later version
    async with start_worker(engine):
        engine.hangs_after = [1]
        await publisher.publish("t1")
        await eventually(partial(has, js, "segments", "t1"))
    await write(js, of, "t1")
    before = {subject_prefix: await last(js, subject_prefix, "t1") for subject_prefix in ("progress", "segments")}
    async with start_worker(FakeEngine()):
        # When a worker that cannot read the record gets the task, and another task
        await publisher.reaching(State.COMPLETED, "t2")
        # Then it appends nothing to the first one, and its message stays
        await eventually(partial(is_returned, js))
        assert {subject_prefix: await last(js, subject_prefix, "t1") for subject_prefix in before} == before
        # And no reply claims that the task is missing, deleted or cancelled
        refused = {"progress": REQUESTS, "segments": (), "results": (subjects.CANCEL, subjects.DELETE)}
        await assert_refused(publisher, "t1", *refused[of])
        assert {subject_prefix: await last(js, subject_prefix, "t1") for subject_prefix in before} == before


async def has(js: JetStreamContext, of: str, task_id: str) -> bool:
    info = await js.stream_info(f"transcription_{of}", subjects_filter=f"{of}.{task_id}")
    return bool(info.state.subjects)


async def is_returned(js: JetStreamContext) -> bool:
    """Whether a worker has had the task and has returned it."""
    consumers = await js.consumers_info("transcription_ready")
    waiting = (await js.stream_info("transcription_tasks")).state.messages
    return waiting == 1 and any(info.num_redelivered for info in consumers)


async def test_a_running_task_stops_before_a_record_of_a_later_version(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When another worker appends to the log of a running task
    appended = await write(js, "progress", "t1")
    engine.may_go_on.set()
    # Then the first worker stops behind it
    await eventually(lambda: worker.container.slots.idle)
    assert await last(js, "progress", "t1") == appended
    assert not await has(js, "results", "t1")


async def test_the_task_of_a_waiting_message_is_not_registered_again(
    publisher: Publisher, worker: Worker, js: JetStreamContext
) -> None:
    # Given a log whose only record is of a later version
    appended = await write(js, "progress", "t1")
    # When a message with its task id comes
    await publisher.publish("t1")
    await publisher.reaching(State.COMPLETED, "t2")
    # Then the log stays as it is, and requests fail
    await assert_refused(publisher, "t1", *REQUESTS)
    assert await last(js, "progress", "t1") == appended
    assert not await queue_is_empty(js)


async def test_other_tasks_are_projected_beside_a_record_of_a_later_version(
    publisher: Publisher, worker: Worker, js: JetStreamContext, redis: Redis
) -> None:
    # Given records that cannot be projected
    for of in ("progress", "results"):
        await write(js, of, "t1")
    # When other tasks come, then they are in Redis nevertheless
    for task_id in ("t2", "t3"):
        await publisher.reaching(State.COMPLETED, task_id)
        await eventually(partial(redis.exists, f"task:{task_id}:result"), within=15)
    # And the records wait for a worker that can read them
    for of in ("progress", "results"):
        info = await js.consumer_info(f"transcription_{of}", f"transcription_worker_projection_{of}")
        assert info.num_ack_pending + info.num_pending >= 1


async def test_an_erasure_does_not_report_what_it_cannot_read_as_deleted(
    publisher: Publisher, worker: Worker, js: JetStreamContext
) -> None:
    # Given an ended task of a user, and a dead letter that only a later version can read
    await publisher.reaching(State.COMPLETED, "t1")
    headers = cloud_events.headers("dead_letters", "natscribe/later", "letter", task_id="t9")
    await js.publish("append.dead_letters.transcription", LATER, headers=headers)
    error: dict[str, Any] = (await publisher.request(subjects.DELETE, user_id=7))["error"]
    assert (error["code"], "another version" in error["message"]) == ("internal", True)


async def test_an_unknown_stage_and_error_are_repeated_and_an_unknown_state_is_not_continued(
    publisher: Publisher, worker: Worker, js: JetStreamContext, engine: FakeEngine
) -> None:
    # Given a task that has failed
    await publisher.reaching(State.FAILED, "t1", audio_file_id="nowhere.flac")
    message = await js.get_last_msg("transcription_progress", "progress.t1")
    event = json.loads(message.data or b"")
    headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}

    async def append(**fields: object) -> None:
        headers["ce-id"] = headers["Nats-Msg-Id"] = str(fields)
        body = json.dumps(event | fields | {"sequence": event["sequence"] + 1}).encode()
        await js.publish("append.progress.t1", body, headers=headers)

    # When a later version gives another reason, then its code is passed on
    await append(error=event["error"] | {"code": "licence_expired"}, stage="queueing")
    reply = await publisher.request(subjects.STATUS, task_id="t1")
    assert (reply["error"]["code"], reply["stage"]) == ("licence_expired", "queueing")
    # And no worker continues a task in a state that this version does not know
    await append(state="suspended", error=None)
    await assert_refused(publisher, "t1", *REQUESTS)
