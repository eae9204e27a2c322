"""Cancelled and deleted tasks: nothing comes after, and nothing is left."""

import asyncio
import json

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from app.main import Service
from app.queue import TaskQueue
from app.results import ResultStore
from handlers.ports import Result
from schemas.progress import State
from schemas.transcription import TranscriptionTask
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually


@pytest.fixture
def on_the_way(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Hold a result just before it is published: it has been checked whose it is. Set when it waits; set to let go."""
    waits, may_go = asyncio.Event(), asyncio.Event()
    publish = ResultStore.publish

    async def held(self: ResultStore, result: Result, facts: object) -> None:
        waits.set()
        while not may_go.is_set():
            try:
                await may_go.wait()
            except asyncio.CancelledError:
                continue  # as if the message had left already
        await publish(self, result, facts)

    monkeypatch.setattr(ResultStore, "publish", held)
    return waits, may_go


@pytest.mark.parametrize("request_", ["tasks.cancel", "tasks.delete"])
async def test_a_result_that_was_on_the_way_is_withdrawn(
    publisher: Publisher,
    worker: Service,
    js: JetStreamContext,
    redis: Redis,
    on_the_way: tuple[asyncio.Event, asyncio.Event],
    request_: str,
) -> None:
    waits, may_go = on_the_way
    # Given a worker that is about to publish a result
    await publisher.publish("t1")
    await waits.wait()
    # When its task is cancelled or deleted just then
    await publisher.ask(request_, task_id="t1")
    may_go.set()

    # Then no result is left, neither in the stream nor in Redis
    async def nothing_left() -> bool:
        return (await js.stream_info("transcription_results")).state.last_seq == 1 and (
            await js.stream_info("transcription_results")
        ).state.messages == 0

    await eventually(nothing_left)
    if request_ == "tasks.delete":
        assert (await js.stream_info("transcription_progress")).state.messages == 0
        assert not await redis.keys("task:*")
    else:
        events = await publisher.until("t1", State.CANCELLED)
        assert State.COMPLETED not in {event.state for event in events}


async def test_who_cancels_too_late_gets_the_result(
    publisher: Publisher, worker: Service, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that has published a result but has not said so
    published, may_go = asyncio.Event(), asyncio.Event()
    publish = ResultStore.publish

    async def held(self: ResultStore, result: Result, facts: object) -> None:
        await publish(self, result, facts)
        published.set()
        await may_go.wait()

    monkeypatch.setattr(ResultStore, "publish", held)
    await publisher.publish("t1")
    await published.wait()
    # When the task is cancelled
    status = await publisher.ask("tasks.cancel", task_id="t1")
    may_go.set()
    # Then it has completed, with its one result
    assert (status["state"], status["progress"], status["result_available"]) == ("completed", 100, True)
    assert (await js.stream_info("transcription_results")).state.messages == 1
    await eventually(lambda: queue_is_empty(js))


async def test_a_late_word_does_not_open_a_deleted_task_again(
    publisher: Publisher, worker: Service, js: JetStreamContext, engine: FakeEngine
) -> None:
    # Given a task that was done and deleted
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
    await publisher.ask("tasks.delete", task_id="t1")
    # When another worker hears only now that it was stored
    queue: TaskQueue = worker.desk.queue
    task = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
    headers = {
        "Nats-Subject": "tasks.transcription.normal",
        "Nats-Sequence": "1",
        "Nats-Time-Stamp": "2026-01-01T00:00:00Z",
    }
    await queue.accept(task, headers)
    # Then it stays deleted
    assert (await js.stream_info("transcription_progress")).state.messages == 0


async def test_a_deleted_task_leaves_no_letter_no_object_and_no_recording(
    publisher: Publisher, worker: Service, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task with a large result, and one that failed
    engine.windows = 4800
    await publisher.publish("large", word_timestamps=True)
    await publisher.until("large", State.COMPLETED)
    await publisher.publish("failed", audio_file_id="nowhere.flac")
    await publisher.until("failed", State.FAILED)
    await eventually(lambda: queue_is_empty(js))
    reference = json.loads((await js.get_last_msg("transcription_results", "results.large")).data)["object"]
    # When both are deleted
    for task_id in ("large", "failed"):
        assert await publisher.ask("tasks.delete", task_id=task_id) == {"deleted": True}
    # Then no letter and no object is left
    assert (await js.stream_info("transcription_dead_letters")).state.messages == 0
    bucket = await js.object_store(reference["bucket"])
    with pytest.raises(NotFoundError):
        await bucket.get_info("large")
