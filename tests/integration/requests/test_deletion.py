"""Cancelled and deleted tasks: no later event, and no data is left after a deletion."""

import asyncio
from collections.abc import Iterable

import pytest
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from natscribe.client import Client
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from app.main import Worker
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from app.tasks.execution.beginning import Beginning
from app.tasks.execution.settlement import Settlement
from app.tasks.queue.positions import Position, Positions
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import TaskMessageId
from app.tasks.task_log.results import ResultStore
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.requests.conftest import Held, Hold
from tests.publishers import publishers
from tests.waiting import DEADLINE, eventually
from tests.witness import witness

DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")
TASK_STREAMS = [f"transcription_{of}" for of in ("tasks", "progress", "segments", "results", "dead_letters")]


@pytest.fixture
def result(hold: Hold) -> Held:
    """The result of a task, held just before it is published."""
    return hold(ResultStore, "publish")


async def all_is_projected(js: JetStreamContext) -> bool:
    consumers = await js.consumers_info("transcription_progress") + await js.consumers_info("transcription_results")
    return all(info.num_pending == info.num_ack_pending == 0 for info in consumers)


@pytest.mark.parametrize("given_up", [False, True])
async def test_a_result_in_flight_when_its_task_ends_is_never_published(
    publisher: Publisher, worker: Worker, nc: Nats, redis: Redis, settings: Settings, result: Held, given_up: bool
) -> None:
    # Given a worker that freezes when it is about to publish a result
    async with witness(settings.nats_url) as subscriber:
        await publisher.publish("t1")
        await result.waits.wait()
        # When its task is cancelled, or ended as failed, just then
        if given_up:
            log = TaskLog(nc, publishers(nc), settings.stream_names, "other")
            last = await log.last("t1")
            assert last is not None
            await log.end(last, DIED.detail)
        else:
            await publisher.request("tasks.cancel", task_id="t1")
        result.may_go.set()
        events = await publisher.until("t1", State.FAILED if given_up else State.CANCELLED)
        await eventually(lambda: worker.container.slots.idle)
        # Then no client has seen a result, neither live nor in the stream nor in Redis
        await eventually(subscriber.agrees)
        assert (await subscriber.seen())["transcription_results"] == []
        assert State.COMPLETED not in {event.state for event in events}
    await eventually(lambda: all_is_projected(publisher.js))
    assert not await redis.exists("task:t1:result")


async def test_a_result_in_flight_when_its_task_is_deleted_is_removed(
    publisher: Publisher, worker: Worker, redis: Redis, result: Held
) -> None:
    # Given a worker that is about to publish a result
    await publisher.publish("t1")
    await result.waits.wait()
    # When its task is deleted just then
    await publisher.request("tasks.delete", task_id="t1")
    result.may_go.set()

    # Then nothing is left, neither in the streams nor in Redis
    async def nothing_left() -> bool:
        state = (await publisher.js.stream_info("transcription_results")).state
        return state.last_seq == 2 and state.messages == 0  # the marker that forbids the result, and the result

    await eventually(nothing_left)
    await eventually(lambda: all_is_projected(publisher.js))
    assert (await publisher.js.stream_info("transcription_progress")).state.messages == 0
    assert not await redis.keys("task:*")


async def test_a_late_result_of_a_deleted_task_is_removed_from_redis_too(
    publisher: Publisher, worker: Worker, redis: Redis, result: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, was_shown = ResultStore.delete, asyncio.Event()

    async def shown() -> bool:
        return bool(await redis.exists("task:t1:result"))

    async def not_shown() -> bool:
        return not await shown()

    async def once_shown(self: ResultStore, task_id: str, *, of: TaskMessageId) -> None:
        await eventually(shown)
        was_shown.set()
        await delete(self, task_id, of=of)

    # Given a worker that freezes when it is about to publish a result
    await publisher.publish("t1")
    await result.waits.wait()
    # When its task is deleted, and its result comes so late that Redis has forgotten the deletion
    await publisher.request("tasks.delete", task_id="t1")
    await redis.flushdb()
    monkeypatch.setattr(ResultStore, "delete", once_shown)
    result.may_go.set()
    async with asyncio.timeout(DEADLINE):
        await was_shown.wait()
    # Then it is removed there, too
    await eventually(not_shown)


@pytest.mark.parametrize("error", [None, DIED.detail], ids=["cancelled", "failed"])
async def test_an_interrupted_end_of_a_task_is_completed(
    publisher: Publisher,
    start_worker: StartWorker,
    nc: Nats,
    settings: Settings,
    constants: Constants,
    error: ErrorDetail | None,
) -> None:
    constants(MIN_EVENT_INTERVAL_S=DEADLINE)  # nothing is appended in between
    # Given a task that runs, and a worker that ends it, but is lost before the end is appended
    engine = FakeEngine()
    engine.may_go_on.clear()
    async with start_worker(engine) as worker, witness(settings.nats_url) as subscriber:
        await publisher.reaching(State.RUNNING, "t1")
        log = TaskLog(nc, publishers(nc), settings.stream_names, "other")
        last = await log.last("t1")
        assert last is not None
        await log.forbid_result(last, error)
        # When its worker is done
        engine.may_go_on.set()
        # Then no client sees a result, and the next worker ends the task in that way
        events = await publisher.until("t1", State.FAILED if error else State.CANCELLED)
        await eventually(lambda: queue_is_empty(publisher.js))
        assert (events[-1].attempt, events[-1].error) == (1, error)
        assert (await subscriber.seen())["transcription_results"] == []
        assert (await publisher.js.stream_info("transcription_dead_letters")).state.messages == (1 if error else 0)
        # And a failure is counted, once
        counted = [
            line for line in worker.container.meter.exposition().decode().splitlines() if "task_failure_t" in line
        ]
        assert [line.endswith(" 1.0") for line in counted if line.startswith("task_failure_total{")] == [True] * bool(
            error
        )


async def test_a_registration_that_is_late_does_not_bring_a_deleted_task_back(
    publisher: Publisher, worker: Worker, redis: Redis, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds, may_go = asyncio.Event(), asyncio.Event()
    locate = Positions.locate

    async def held(self: Positions, tasks: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position | None]]:
        located = await locate(self, tasks)
        if any(message.task_id == "t1" for message, _ in located):
            holds.set()
            await may_go.wait()
        return located

    # Given a busy worker that has read the message of a waiting task, and has not registered the task yet
    monkeypatch.setattr(Positions, "locate", held)
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "busy")
    await publisher.publish("t1")
    await holds.wait()
    # When the task is done and deleted before that
    engine.may_go_on.set()
    await publisher.until("t1", State.COMPLETED)
    await eventually(lambda: queue_is_empty(publisher.js))
    await publisher.request("tasks.delete", task_id="t1")
    before = (await publisher.js.stream_info("transcription_progress")).state.last_seq
    may_go.set()

    # Then nothing of it comes back
    async def appended_and_removed() -> bool:
        state = (await publisher.js.stream_info("transcription_progress", subjects_filter="progress.t1")).state
        return state.last_seq > before and not state.subjects

    await eventually(appended_and_removed)
    await eventually(lambda: all_is_projected(publisher.js))
    assert not await redis.keys("task:t1:info")
    assert not await redis.keys("task:t1:progress")


async def test_a_recreated_stream_retains_its_messages(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    # Given a task of a stream that was deleted since and recreated, so that sequences begin again
    await publisher.reaching(State.COMPLETED, "old")
    await eventually(lambda: queue_is_empty(publisher.js))
    await publisher.js.delete_stream("transcription_tasks")
    await worker.container.stream_guard.check()
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "busy")
    # When the old one is deleted while another one runs under its number
    assert (await publisher.request("tasks.delete", task_id="old"))["deleted"]
    # Then the other one is still there, and is done
    assert (await publisher.js.stream_info("transcription_tasks")).state.messages == 1
    engine.may_go_on.set()
    await publisher.until("busy", State.COMPLETED)


async def chunks(js: JetStreamContext, bucket: str) -> int:
    """The number of chunks of objects in a bucket."""
    info = await js.stream_info(f"OBJ_{bucket}", subjects_filter=f"$O.{bucket}.C.>")
    return sum((info.state.subjects or {}).values())


@pytest.mark.parametrize("fails", [True, False])
async def test_a_deletion_leaves_no_data(
    settings: Settings, publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, redis: Redis, fails: bool
) -> None:
    # Given a task with a recording in the bucket, and a result too large for a message, or a dead letter
    settings.audio_store = "nats://audio"
    engine.windows, engine.text = 30, "word " * 10_000
    engine.fail_with = [DIED] if fails else []
    async with start_worker(engine):
        await (await publisher.js.object_store("audio")).put("t1-meeting.flac", b"not read by a fake engine")
        await publisher.publish("t1", audio_file_id="t1-meeting.flac")
        await publisher.until("t1", State.FAILED if fails else State.COMPLETED)
        await eventually(lambda: queue_is_empty(publisher.js))
        await eventually(lambda: redis.exists("task:t1:info"))
        assert bool(await chunks(publisher.js, "results")) is not fails
        assert await chunks(publisher.js, "audio") == 1
        assert (await publisher.js.stream_info("transcription_dead_letters")).state.messages == fails
        # When it is deleted
        async with Client(settings) as client:
            await client.delete("t1")
        # Then no data of it is left
        left = {stream: (await publisher.js.stream_info(stream)).state.messages for stream in TASK_STREAMS}
        assert left == dict.fromkeys(TASK_STREAMS, 0)
        for bucket in ("OBJ_results", "OBJ_audio"):  # neither its chunks nor its name
            assert (await publisher.js.stream_info(bucket)).state.messages == 0
        assert not await redis.keys("task:*")


async def test_a_deletion_that_failed_can_be_repeated(
    publisher: Publisher, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task whose segments cannot be removed at first
    await publisher.reaching(State.COMPLETED, "t1")
    await eventually(lambda: queue_is_empty(publisher.js))
    purge_segments = TaskLog.purge_segments

    async def unanswered(_: TaskLog, __: str) -> None:
        monkeypatch.setattr(TaskLog, "purge_segments", purge_segments)
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    monkeypatch.setattr(TaskLog, "purge_segments", unanswered)
    assert (await publisher.request("tasks.delete", task_id="t1"))["error"]["code"] == "internal"
    # When the deletion is repeated
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    # Then no data of it is left
    left = {stream: (await publisher.js.stream_info(stream)).state.messages for stream in TASK_STREAMS}
    assert left == dict.fromkeys(TASK_STREAMS, 0)


async def test_a_task_that_is_deleted_before_its_start_does_not_run(
    publisher: Publisher, worker: Worker, engine: FakeEngine, hold: Hold
) -> None:
    # Given a worker that has a task's message, and has not read its log yet
    start = hold(Beginning, "begin")
    await publisher.publish("t1")
    await start.waits.wait()
    await publisher.until("t1", State.QUEUED)
    # When the task is deleted just then
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    start.may_go.set()
    # Then the worker runs the next task
    await publisher.reaching(State.COMPLETED, "t2")
    assert len(engine.jobs) == 1
    # And the deleted task is still unknown
    assert (await publisher.request("tasks.status", task_id="t1"))["error"]["code"] == "not_found"


async def test_a_deleted_task_does_not_run_on_the_record_of_a_late_registration(
    publisher: Publisher, worker: Worker, engine: FakeEngine, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    located, may_register = asyncio.Event(), asyncio.Event()
    locate = Positions.locate

    async def held(self: Positions, tasks: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position | None]]:
        found, is_first = await locate(self, tasks), not located.is_set()
        located.set()
        if is_first:
            await may_register.wait()
        return found

    # Given a slot and a registration that have read a task's message, and nothing else yet
    monkeypatch.setattr(Positions, "locate", held)
    start, undo = hold(Beginning, "begin"), hold(TaskLog, "undo")
    await publisher.publish("t1")
    await start.waits.wait()
    await located.wait()
    # And the task is deleted, so that the registration finds an empty log, and has yet to undo what it appends there
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    may_register.set()
    await undo.waits.wait()
    # When the slot starts the task just then
    start.may_go.set()

    async def grant_is_settled() -> bool:
        return (await publisher.js.stream_info("transcription_ready")).state.messages == 0

    await eventually(grant_is_settled)
    undo.may_go.set()
    # Then only the next task runs
    await publisher.reaching(State.COMPLETED, "t2")
    assert len(engine.jobs) == 1
    assert (await publisher.request("tasks.status", task_id="t1"))["error"]["code"] == "not_found"


async def test_the_unacknowledged_message_of_a_deleted_task_is_removed(
    publisher: Publisher, worker: Worker, hold: Hold
) -> None:
    # Given a task that has completed, and a worker that has yet to acknowledge its message
    settlement_of_task = hold(Settlement, "settle")
    await publisher.reaching(State.COMPLETED, "t1")
    assert not await queue_is_empty(publisher.js)
    # When it is deleted
    await publisher.request("tasks.delete", task_id="t1")
    # Then its message is gone, and no other worker gets it if this one dies
    assert await queue_is_empty(publisher.js)
    settlement_of_task.may_go.set()


@pytest.mark.parametrize("request_", ["tasks.cancel", "tasks.delete"])
async def test_the_result_of_an_id_that_is_used_again_is_shown(
    publisher: Publisher, worker: Worker, engine: FakeEngine, redis: Redis, request_: str
) -> None:
    # Given a task that was cancelled, or deleted, a moment ago
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    await publisher.request(request_, task_id="t1")
    await publisher.request("tasks.delete", task_id="t1")
    engine.may_go_on.set()
    # When its id is used again
    await publisher.reaching(State.COMPLETED, "t1")
    # Then its result is in Redis
    await eventually(lambda: redis.exists("task:t1:result"))
