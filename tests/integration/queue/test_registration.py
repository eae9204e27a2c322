"""Registration: the log of a task begins with `queued` soon, also where many wait."""

import asyncio
import json
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import TranscriptionTask
from natscribe.schemas.wire import Kind, Priority

from app.main import Worker
from app.runtime.errors import TransientError
from app.tasks.queue.registration import ANNOUNCED_AT_ONCE
from app.tasks.task_log.log import TaskLog
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker

MANY = 2 * ANNOUNCED_AT_ONCE + 1
QUEUE = "tasks.transcription.normal"
TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
GHOST = TASK.model_copy(update={"task_id": "ghost"})


def copied(sequence: int, **more: str) -> dict[str, str]:
    """The headers of a copy of the message with this sequence."""
    return {"Nats-Subject": QUEUE, "Nats-Sequence": str(sequence)} | more


async def test_each_task_of_a_burst_has_its_position(publisher: Publisher, busy: Worker) -> None:
    # Given a busy worker, when more tasks are published than it registers at once
    for number in range(MANY):
        await publisher.publish(f"t{number}")
    first_events = [(await publisher.until(f"t{number}", State.QUEUED))[0] for number in range(MANY)]
    # Then each is registered with its position, give or take what is published meanwhile
    assert [event.sequence for event in first_events] == [1] * MANY
    for number, event in enumerate(first_events, 1):
        assert event.queue_position == pytest.approx(number, abs=2)


async def test_tasks_of_all_queues_of_recordings_are_registered_together(publisher: Publisher, busy: Worker) -> None:
    # When tasks of all queues of recordings are stored in the same moment, and one of them twice
    queues = [(kind, priority) for kind in Kind for priority in Priority]
    await asyncio.gather(
        *(publisher.publish(f"{kind}-{priority}", kind=kind, priority=priority) for kind, priority in queues),
        publisher.publish("transcription-low", priority=Priority.HIGH),
    )
    # Then each is registered once
    for kind, priority in queues:
        (queued,) = await publisher.until(f"{kind}-{priority}", State.QUEUED)
        assert (queued.kind, queued.sequence) == (kind, 1)


@pytest.mark.parametrize("error", [TransientError(ErrorCode.INTERNAL, "JetStream does not answer."), OverflowError()])
async def test_a_task_that_could_not_be_registered_ahead_is_processed(
    publisher: Publisher, busy: Worker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    # Given a stream that does not reply for a moment, or an error that nobody expects
    has_requested = asyncio.Event()

    async def fail(_: TaskLog, __: object) -> None:
        has_requested.set()
        raise error

    with monkeypatch.context() as away:
        away.setattr(TaskLog, "last_of", fail)
        await publisher.publish("t1")
        await has_requested.wait()
    # When it replies again, then later tasks are registered
    await publisher.reaching(State.QUEUED, "t2")
    # And the one that was not registered completes nevertheless
    engine.may_go_on.set()
    states = [event.state for event in await publisher.until("t1", State.COMPLETED)]
    assert (states[0], states[-1]) == (State.QUEUED, State.COMPLETED)


@pytest.mark.foreign
async def test_a_forged_announcement_does_not_replace_the_true_one(
    publisher: Publisher, busy: Worker, nc: Client
) -> None:
    # Given a client that repeats each announcement at once, with another recording
    async def repeat(announced: Msg) -> None:
        if b"forged" not in announced.data:
            task = json.loads(announced.data) | {"audio_file_id": "forged"}
            await nc.publish(announced.subject, json.dumps(task).encode(), headers=announced.headers)

    forger = await nc.subscribe("accepted.tasks.>", cb=repeat)
    # When a task is published
    await publisher.publish("t1")
    # Then the task is registered as it was published
    await publisher.until("t1", State.QUEUED)
    status = await publisher.request("tasks.status", task_id="t1")
    assert cast("dict[str, object]", status["task"])["audio_file_id"] == "meeting.flac"
    await forger.unsubscribe()


@pytest.mark.foreign
async def test_announcements_get_no_reply(publisher: Publisher, busy: Worker, nc: Client) -> None:
    # Given a client that announces a task, and waits for a reply
    inbox = await nc.subscribe(nc.new_inbox())
    body = GHOST.model_dump_json().encode()
    await nc.publish(f"accepted.{QUEUE}", body, reply=inbox.subject, headers=copied(1))
    # When a task is registered that was announced after that
    await publisher.reaching(State.QUEUED, "t1")
    await nc.flush()
    # Then the client has received nothing
    assert inbox.pending_msgs == 0


async def test_tasks_that_were_stored_while_no_worker_ran_are_registered(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given tasks that were published while no worker ran, and an invalid message
    async with start_worker(FakeEngine()):
        pass
    for number in range(4):
        await publisher.publish(f"t{number}")
    await publisher.js.publish("tasks.transcription.normal", b"garbage")
    # When a worker starts, and runs the first
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.until("t0", State.RUNNING)
        # Then clients see those that wait, and can cancel and delete them
        for number in range(1, 4):
            await publisher.until(f"t{number}", State.QUEUED)
        assert (await publisher.request("tasks.status", task_id="t1"))["state"] == "queued"
        assert (await publisher.request("tasks.cancel", task_id="t2"))["state"] == "cancelled"
        assert (await publisher.request("tasks.delete", task_id="t3"))["deleted"]
        engine.may_go_on.set()
        await publisher.until("t1", State.COMPLETED)
    assert len(engine.jobs) == 2
