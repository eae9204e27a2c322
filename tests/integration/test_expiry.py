"""A task that waits too long ends with a word."""

import asyncio
import json
from functools import partial

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority

from app.errors import FencedError
from app.task_log.log import TaskLog
from app.task_log.record import Record
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually


@pytest.fixture(autouse=True)
def _little_patience(constants: Constants) -> None:
    constants(EXPIRES_AFTER_S=1.2, EXPIRE_EVERY_S=0.2)


async def dead_letters(js: JetStreamContext) -> int:
    return (await js.stream_info("transcription_dead_letters")).state.messages


async def test_what_waited_too_long_expires_and_what_runs_does_not(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that runs longer than others may wait, and two that wait behind it, of which one is no task
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("running")
        await publisher.until("running", State.RUNNING)
        await publisher.publish("waiting")
        await js.publish("tasks.transcription.low", b"no task")
        # When the time is up
        events = await publisher.until("waiting", State.FAILED)
        # Then the one that waits has failed, is kept, and is out of the queue
        assert events[-1].error is not None
        assert events[-1].error.code is ErrorCode.EXPIRED
        await eventually(lambda: dead_letters(js))
        # And the one that runs is left alone
        await publisher.publish("later")
        await publisher.until("later", State.FAILED)  # in another sweep
        engine.may_go_on.set()
        await publisher.until("running", State.COMPLETED)
        await eventually(lambda: queue_is_empty(js))
    assert engine.stopped == 0


async def test_a_task_that_begins_while_it_expires_goes_on(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a sweep that has seen a task wait too long, and pauses before it ends the task
    pauses, may_go_on, refused = asyncio.Event(), asyncio.Event(), asyncio.Event()
    end = TaskLog.end

    async def held(self: TaskLog, last: Record, error: ErrorDetail | None = None) -> Record:
        pauses.set()
        await may_go_on.wait()
        try:
            return await end(self, last, error)
        except FencedError:
            refused.set()
            raise

    monkeypatch.setattr(TaskLog, "end", held)
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("busy")
        await publisher.until("busy", State.RUNNING)
        await publisher.publish("t1")
        await pauses.wait()
        # When a worker begins the task before the sweep goes on
        engine.may_go_on.set()
        await publisher.until("busy", State.COMPLETED)
        engine.may_go_on.clear()
        await publisher.until("t1", State.RUNNING)
        may_go_on.set()
        await refused.wait()
        engine.may_go_on.set()
        # Then the task completes, in its first attempt
        events = await publisher.until("t1", State.COMPLETED)
        assert {event.attempt for event in events[1:]} == {1}


@pytest.mark.foreign
async def test_a_log_that_others_wrote_into_stops_no_sweep(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a busy worker, behind which the first of two tasks has something foreign for a log
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("running")
        await publisher.until("running", State.RUNNING)
        await js.publish("append.progress.spoilt", b"junk")
        await publisher.publish("spoilt")
        await publisher.publish("waiting")
        # When the time is up, then both have failed
        for task_id in ("waiting", "spoilt"):
            await eventually(partial(is_expired, publisher, task_id))
        engine.may_go_on.set()
        await publisher.until("running", State.COMPLETED)


async def is_expired(publisher: Publisher, task_id: str) -> bool:
    status = await publisher.ask("tasks.status", task_id=task_id)
    return status.get("state") == "failed" and status["error"]["code"] == "expired"


@pytest.mark.foreign
@pytest.mark.parametrize("status", ["404", "503"])
async def test_a_publishers_status_ends_no_sweep(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, status: str
) -> None:
    # Given a busy worker, behind which the first of two tasks has a status that a server answers with
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.publish("running")
        await publisher.until("running", State.RUNNING)
        task = {"task_id": "odd", "audio_file_id": "meeting.flac", "user_id": 7}
        await publisher.js.publish("tasks.transcription.low", json.dumps(task).encode(), headers={"Status": status})
        await publisher.publish("waiting", priority=Priority.LOW)
        # When the time is up, then both have failed
        for task_id in ("odd", "waiting"):
            await eventually(partial(is_expired, publisher, task_id))
        engine.may_go_on.set()
        await publisher.until("running", State.COMPLETED)
