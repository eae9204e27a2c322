"""Who is overtaken stops and settles nothing; what was published before is found by whoever comes next."""

import asyncio
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext

from app import streams
from app.main import Service
from app.results import ResultStore
from app.settings import Settings
from app.task_log import TaskLog
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.waiting import eventually


async def stopped(engine: FakeEngine) -> bool:
    return engine.stopped > 0


async def begun(engine: FakeEngine) -> bool:
    return bool(engine.jobs)


async def test_an_overtaken_worker_leaves_the_message_to_others(
    publisher: Publisher, worker: Service, engine: FakeEngine, settings: Settings, nc: Client, js: JetStreamContext
) -> None:
    # Given a worker in the middle of a task
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    await eventually(lambda: begun(engine))
    # When another one says that it runs the task
    other = TaskLog(nc, streams.names(settings), "other")
    last = await other.last("t1")
    assert last is not None
    changes = {"sequence": last.event.sequence + 1, "worker": "other", "time": datetime.now(UTC)}
    await other.append(last.event.model_copy(update=changes), last.facts, after=last.stream_sequence)
    # Then the first one stops its engine, and the message stays for the other one
    await eventually(lambda: stopped(engine))
    engine.may_go_on.set()
    # And when that one is silent, the task is done all the same
    events = await publisher.until("t1", State.COMPLETED)
    assert events[-1].attempt == 2
    await eventually(lambda: queue_is_empty(js))


async def test_a_task_is_cancelled_while_its_engine_is_silent(
    publisher: Publisher, worker: Service, engine: FakeEngine
) -> None:
    # Given an engine that says nothing for a long time
    engine.silent = True
    await publisher.publish("t1")
    await publisher.until("t1", State.RUNNING)
    await eventually(lambda: begun(engine))
    # When its task is cancelled
    async with asyncio.timeout(2):
        await publisher.ask("tasks.cancel", task_id="t1")
        # Then the engine is stopped, and the slot is free for the next task
        await eventually(lambda: stopped(engine))
        engine.silent = False
        await publisher.publish("t2")
        await publisher.until("t2", State.COMPLETED)


async def test_a_result_that_was_published_before_a_stop_is_not_found_again(
    publisher: Publisher, start_worker: StartWorker, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that is stopped after it published the result, before it could say so
    published = asyncio.Event()
    original = ResultStore.publish

    async def stops(self: ResultStore, *arguments: object) -> None:
        await original(self, *arguments)
        published.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as stopping:
        stopping.setattr(ResultStore, "publish", stops)
        async with start_worker(FakeEngine()):
            await publisher.publish("t1")
            await published.wait()
    # When another one has the task
    second = FakeEngine()
    async with start_worker(second):
        events = await publisher.until("t1", State.COMPLETED)
        await eventually(lambda: queue_is_empty(js))
    # Then it says the last word, and does nothing again
    assert [event.state for event in events][-2:] == [State.QUEUED, State.COMPLETED]
    assert second.jobs == []
    assert (await js.stream_info("transcription_results")).state.messages == 1


async def test_attempts_go_on_where_the_last_one_ran_out_of_time(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given an engine that hangs after its first window, and little time for an attempt
    settings.task_timeout = 1
    engine = FakeEngine()
    engine.hangs_after = [1, 1]
    async with start_worker(engine):
        # When a task is published
        await publisher.publish("t1")
        events = await publisher.until("t1", State.COMPLETED)
    # Then each attempt goes on after the windows that are done
    errors = [event.error.code for event in events if event.state is State.RETRYING and event.error]
    assert errors == ["timeout", "timeout"]
    assert [job.start_at for job in engine.jobs] == [0, 10, 20]
    assert (await js.stream_info("transcription_segments")).state.messages == 3
