"""A task that fails is retried where that can help, else it gets a dead letter."""

import asyncio
import json
from functools import partial

import pytest
from nats.js import JetStreamContext
from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.engines.messages import FindWindows
from app.main import Worker
from app.runtime.errors import PermanentError, TransientError
from app.tasks.task_log.log import TaskLog
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually

TRANSIENT = TransientError(ErrorCode.ENGINE_FAILED, "The engine died: it is tried again.")
PERMANENT = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")


async def dead_letters(js: JetStreamContext) -> list[DeadLetter]:
    count = (await js.stream_info("transcription_dead_letters")).state.messages
    messages = [await js.get_msg("transcription_dead_letters", seq) for seq in range(1, count + 1)]
    return [DeadLetter.model_validate_json(message.data or b"") for message in messages]


async def test_a_task_without_attempts_left_fails(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    engine.fail_with = [TRANSIENT] * 9
    events = await publisher.reaching(State.FAILED, "t1")
    retrying = [event for event in events if event.state is State.RETRYING]
    assert [event.attempt for event in retrying] == [1, 2, 3]
    assert all(event.error == TRANSIENT.detail and event.retry_at and event.retry_at > event.time for event in retrying)
    assert (events[-1].attempt, events[-1].max_attempts) == (4, 4)
    await eventually(lambda: queue_is_empty(js))
    (letter,) = await dead_letters(js)
    assert (letter.task_id, letter.attempts, letter.error) == ("t1", 4, TRANSIENT.detail)
    assert (await publisher.request("tasks.result", task_id="t1"))["error"] == TRANSIENT.detail.model_dump(mode="json")


@pytest.mark.parametrize("queued", [True, False])
async def test_a_cancelled_task_ends(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, *, queued: bool
) -> None:
    # Given a task that runs, and one that waits behind it
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "running")
    await publisher.reaching(State.QUEUED, "waiting")
    # When one is cancelled
    task_id = "waiting" if queued else "running"
    status = await publisher.request("tasks.cancel", task_id=task_id)
    # Then it ends, its delivery is free at once, and the other one continues
    assert status["state"] == "cancelled"
    assert await messages(js) == 1
    await publisher.until(task_id, State.CANCELLED)
    if queued:
        assert len(engine.jobs) == 1  # no worker has seen it
    else:
        await eventually(lambda: engine.stopped == 1)
    engine.may_go_on.set()
    await publisher.until("running" if queued else "waiting", State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))


async def completed(publisher: Publisher, task_id: str) -> dict[str, object]:
    status = await publisher.request("tasks.status", task_id=task_id)
    return status if status["state"] == "completed" else {}


async def messages(js: JetStreamContext, stream: str = "transcription_tasks") -> int:
    return (await js.stream_info(stream)).state.messages


@pytest.mark.parametrize("fails", [True, False])
async def test_a_header_does_not_restart_an_ended_task(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, fails: bool
) -> None:
    # Given a task that has ended, well or not
    engine.fail_with = [PERMANENT] if fails else []
    await publisher.publish("t1")
    events = await publisher.until("t1", State.FAILED if fails else State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
    # When its message is published again, as if it were the replay of an event that is none, or no failure
    last = (await js.get_last_msg("transcription_progress", "progress.t1")).seq or 0
    body = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 7}).encode()
    headers = {"Natscribe-Replay-Of": str(last - 1 if fails else last)}
    await js.publish("tasks.transcription.normal", body, headers=headers)
    # Then it is removed from the queue, and the log stays as it is
    await eventually(lambda: queue_is_empty(js))
    assert await publisher.until("t1", events[-1].state) == events
    assert (await js.get_last_msg("transcription_progress", "progress.t1")).seq == last
    assert len(engine.jobs) == 1


class BreaksOnce(FakeEngine):
    """Fails for good after the first window of the first recording."""

    async def transcribes(self, number: int) -> None:
        if number == 1 and len(self.jobs) == 1:
            raise PERMANENT


async def test_a_replayed_task_starts_over(
    publisher: Publisher, start_worker: StartWorker, js: JetStreamContext
) -> None:
    # Given a task that failed for good in the middle
    engine = BreaksOnce()
    async with start_worker(engine):
        await publisher.reaching(State.FAILED, "t1")
        await eventually(lambda: queue_is_empty(js))
        assert await messages(js, "transcription_segments") == 1
        # When it is replayed, twice
        assert await publisher.request("dead_letters.replay", code="worker_lost") == {"replayed": 1}
        assert await publisher.request("dead_letters.replay", code="worker_lost") == {"replayed": 0}
        assert (await eventually(lambda: completed(publisher, "t1")))["attempt"] == 1
    # Then earlier text is discarded: it may have been wrong
    assert [job.start_at for job in engine.jobs if isinstance(job, FindWindows)] == [0, 0]
    assert await messages(js, "transcription_segments") == 3


async def test_a_late_replay_deletes_no_segments_of_the_next_run(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a failed task, and a replay that has read its log
    engine.fail_with = [PERMANENT]
    await publisher.reaching(State.FAILED, "t1")
    await eventually(lambda: queue_is_empty(js))
    has_read, may_go = asyncio.Event(), asyncio.Event()
    purge = TaskLog.purge_segments

    async def purge_late(log: TaskLog, task_id: str, *, up_to: int | None = None) -> None:
        monkeypatch.setattr(TaskLog, "purge_segments", purge)
        has_read.set()
        await may_go.wait()
        await purge(log, task_id, up_to=up_to)

    monkeypatch.setattr(TaskLog, "purge_segments", purge_late)
    first = asyncio.create_task(publisher.request("dead_letters.replay", task_id="t1"))
    await has_read.wait()
    # When a second replay queues the task, and a worker completes it
    assert await publisher.request("dead_letters.replay", task_id="t1") == {"replayed": 1}
    await eventually(lambda: completed(publisher, "t1"))
    may_go.set()
    # Then the first replay queues nothing and deletes no segments
    assert await first == {"replayed": 0}
    assert await messages(js, "transcription_segments") == 3


async def test_tasks_are_replayed_though_a_new_stream_repeats_their_numbers(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given five tasks that failed, and a task stream that was recreated since
    engine.fail_with = [PERMANENT] * 5
    ids = [f"t{number}" for number in range(5)]
    for task_id in ids:
        await publisher.publish(task_id)
    for task_id in ids:
        await publisher.until(task_id, State.FAILED)
    await eventually(lambda: queue_is_empty(js))
    await js.delete_stream("transcription_tasks")
    await worker.container.stream_guard.check()
    # When they are replayed, so that messages have a lower number than before, a higher one or the same
    assert await publisher.request("dead_letters.replay", task_id="t2") == {"replayed": 1}
    assert await publisher.request("dead_letters.replay", code="worker_lost") == {"replayed": 4}
    # Then all complete
    for task_id in ids:
        await eventually(partial(completed, publisher, task_id))
