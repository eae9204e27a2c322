"""A task that waits too long fails with `expired`, and has a dead letter."""

import asyncio
import json
from datetime import timedelta
from functools import partial

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority

from app.fleet.expiry import Expiry
from app.main import Worker
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually


@pytest.fixture
def may_expire(constants: Constants, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Have tasks expire that have waited for 1.2 s, but none before this is set: a busy machine starts tasks late."""
    constants(TASK_TTL_S=1.2, EXPIRE_EVERY_S=0.2)
    allowed, expire = asyncio.Event(), Expiry.expire

    async def expire_if_allowed(self: Expiry, *, after: timedelta) -> None:
        await allowed.wait()
        await expire(self, after=after)

    monkeypatch.setattr(Expiry, "expire", expire_if_allowed)
    return allowed


async def dead_letters(js: JetStreamContext) -> int:
    return (await js.stream_info("transcription_dead_letters")).state.messages


async def test_waiting_tasks_expire_and_running_tasks_do_not(
    publisher: Publisher, may_expire: asyncio.Event, busy: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that runs longer than others may wait, and two that wait behind it, of which one is not a valid task
    may_expire.set()
    await publisher.publish("waiting")
    await js.publish("tasks.transcription.low", b"no task")
    # When the maximum waiting time has passed
    events = await publisher.until("waiting", State.FAILED)
    # Then the waiting task has failed, has a dead letter, and is no longer in the queue
    assert events[-1].error is not None
    assert events[-1].error.code is ErrorCode.EXPIRED
    await eventually(lambda: dead_letters(js))
    # And the running task continues
    await publisher.publish("later")
    await publisher.until("later", State.FAILED)  # in another sweep
    engine.may_go_on.set()
    await publisher.until("busy", State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
    assert engine.stopped == 0


@pytest.mark.foreign
async def test_what_others_wrote_stops_no_sweep(
    publisher: Publisher, may_expire: asyncio.Event, busy: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a busy worker, and behind it a task with an invalid event in its log, and two with a status header
    may_expire.set()
    await js.publish("append.progress.spoilt", b"junk")
    await publisher.publish("spoilt", priority=Priority.LOW)
    for status in ("404", "503"):
        task = {"task_id": status, "audio_file_id": "meeting.flac", "user_id": 7}
        await js.publish("tasks.transcription.low", json.dumps(task).encode(), headers={"Status": status})
    await publisher.publish("waiting", priority=Priority.LOW)
    # When the maximum waiting time has passed, then all have failed
    for task_id in ("spoilt", "404", "503", "waiting"):
        await eventually(partial(is_expired, publisher, task_id))
    engine.may_go_on.set()
    await publisher.until("busy", State.COMPLETED)


async def is_expired(publisher: Publisher, task_id: str) -> bool:
    status = await publisher.request("tasks.status", task_id=task_id)
    return status.get("state") == "failed" and status["error"]["code"] == "expired"
