"""A request about a task succeeds from the moment when the task stream has acknowledged the task, also in a burst."""

import asyncio
import json
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from natscribe.jetstream import stream_pages
from natscribe.jetstream.streams import QUEUE_LENGTH
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import unknown_task
from natscribe.schemas.wire import Priority

from app.main import Worker
from app.tasks.queue.registration import Registration
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually, patiently

QUEUE = "tasks.transcription.normal"
MANY = QUEUE_LENGTH  # as many as a queue holds


@pytest.fixture
async def busy(publisher: Publisher, worker: Worker, engine: FakeEngine) -> Worker:
    """A worker that has no time for any further task."""
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "busy", priority=Priority.HIGH)
    return worker


@pytest.fixture
def unregistered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that register nothing by themselves."""

    async def never(_: Registration) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Registration, "run", never)


def body(task_id: str) -> bytes:
    return json.dumps({"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7}).encode()


async def burst(nc: Client, count: int) -> None:
    """Publish tasks with all of them in flight, and return when the last one is acknowledged."""
    acknowledged, done = 0, asyncio.Event()

    async def note(acknowledgement: Msg) -> None:
        nonlocal acknowledged
        assert "seq" in json.loads(acknowledgement.data)
        acknowledged += 1
        if acknowledged == count:
            done.set()

    inbox = nc.new_inbox()
    subscription = await nc.subscribe(inbox, cb=note)
    for number in range(count):
        await nc.publish(QUEUE, body(f"m{number}"), reply=inbox)
    async with asyncio.timeout(patiently(60)):
        await done.wait()
    await subscription.unsubscribe()


def refused(reply: dict[str, Any]) -> str | None:
    """The code of the error in a reply."""
    error = reply.get("error") or {}
    code: str | None = error.get("code")
    return code


@pytest.mark.timeout(600)  # on a busy machine: each of the many messages is compared with the document
async def test_the_last_of_a_burst_can_be_cancelled_and_deleted_at_once(
    publisher: Publisher, busy: Worker, nc: Client, js: JetStreamContext
) -> None:
    # Given a busy worker, and as many tasks as a queue holds, acknowledged just now
    await burst(nc, MANY)
    # When some are cancelled and deleted, then no reply says that they do not exist
    last, middle, unknown, state = await asyncio.gather(
        publisher.repeat_request(subjects.CANCEL, f"m{MANY - 1}"),
        publisher.repeat_request(subjects.DELETE, f"m{MANY // 2}"),
        publisher.repeat_request(subjects.CANCEL, "unknown"),
        publisher.repeat_request(subjects.STATUS, f"m{MANY - 2}"),
    )
    assert (last["state"], state["state"]) == (State.CANCELLED, State.QUEUED)
    assert middle["deleted"] is True
    # And an id that was never published is unknown
    assert unknown["error"] == unknown_task("unknown").model_dump(mode="json")
    # And only the named tasks have ended
    states = [event.state for event in await publisher.until(f"m{MANY - 1}", State.CANCELLED)]
    assert states == [State.QUEUED, State.CANCELLED]
    assert refused(await publisher.repeat_request(subjects.STATUS, f"m{MANY // 2}")) == ErrorCode.NOT_FOUND
    assert (await js.stream_info("transcription_tasks")).state.messages == 1 + MANY - 2
    await js.delete_stream("transcription_tasks")  # the others are not needed


async def test_a_cancelled_task_never_runs_whichever_worker_replies(
    unregistered: None, publisher: Publisher, start_worker: StartWorker, js: JetStreamContext
) -> None:
    # Given two busy workers, and tasks that neither has registered
    del unregistered
    engines = [FakeEngine(), FakeEngine()]
    for engine in engines:
        engine.may_go_on.clear()
    async with start_worker(engines[0]), start_worker(engines[1]):
        for number in range(2):
            await publisher.reaching(State.RUNNING, f"busy{number}", priority=Priority.HIGH)
        ids = [f"t{number}" for number in range(20)]
        await asyncio.gather(*(publisher.publish(task_id) for task_id in ids))
        # When all are cancelled or deleted at once, by requests that either worker may handle
        replies = await asyncio.gather(
            *(
                publisher.repeat_request(subjects.DELETE if at % 2 else subjects.CANCEL, task_id)
                for at, task_id in enumerate(ids)
            )
        )
        # Then each request was handled
        assert {refused(reply) for reply in replies} == {None}
        # And no worker begins any of them
        for engine in engines:
            engine.may_go_on.set()
        await eventually(lambda: queue_is_empty(js))
    assert sum(len(engine.jobs) for engine in engines) == 2


async def test_a_queue_that_cannot_be_read_in_time_makes_no_task_unknown(
    unregistered: None, publisher: Publisher, busy: Worker, monkeypatch: pytest.MonkeyPatch, constants: Constants
) -> None:
    # Given an acknowledged task, and a stream that returns no pages
    del unregistered
    await publisher.publish("t1")
    read, frozen = stream_pages.page, asyncio.Event()

    async def page(*arguments: Any, **options: Any) -> stream_pages.Messages:  # passed on as they came
        await frozen.wait()
        return await read(*arguments, **options)

    monkeypatch.setattr(stream_pages, "page", page)
    constants(READ_WITHIN_S=0.2)
    # When it is cancelled, then the service does not know, and says so
    error = (await publisher.request(subjects.CANCEL, task_id="t1"))["error"]
    assert error["code"] == ErrorCode.INTERNAL
    # And as soon as the stream replies, the request succeeds
    frozen.set()
    constants(READ_WITHIN_S=4.0)
    assert (await publisher.request(subjects.CANCEL, task_id="t1"))["state"] == State.CANCELLED
