"""Cancelled and deleted tasks: nothing comes after, and nothing is left."""

import asyncio

import pytest
from nats.js import JetStreamContext
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
    assert not await redis.exists("task:t1:result")
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


async def test_a_stream_that_was_made_anew_keeps_its_messages(
    publisher: Publisher, worker: Service, js: JetStreamContext, engine: FakeEngine
) -> None:
    # Given a task of a stream that was deleted since and made anew, so that sequences begin again
    await publisher.publish("old")
    await publisher.until("old", State.COMPLETED)
    await eventually(lambda: queue_is_empty(js))
    await js.delete_stream("transcription_tasks")
    await worker.watch.mend()
    engine.may_go_on.clear()
    await publisher.publish("busy")
    await publisher.until("busy", State.RUNNING)
    # When the old one is deleted while another one runs under its number
    assert await publisher.ask("tasks.delete", task_id="old") == {"deleted": True}
    # Then the other one is still there, and is done
    assert (await js.stream_info("transcription_tasks")).state.messages == 1
    engine.may_go_on.set()
    await publisher.until("busy", State.COMPLETED)
