"""The queue: one task at a time for each worker, high priority first, each id once."""

import json
from collections import Counter
from datetime import UTC, datetime
from functools import partial

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from natscribe.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind, Priority, TaskType

from app.fleet.stream_guard.provisioning import provision
from app.main import Worker
from app.runtime.errors import TransientError
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, parsed, queue_is_empty, results
from tests.waiting import eventually
from tests.workers import working


async def test_high_goes_before_normal_before_low(
    publisher: Publisher, busy: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a worker that is busy
    # When tasks are queued in the wrong order
    await publisher.publish("low", priority=Priority.LOW)
    await publisher.publish("normal", priority=Priority.NORMAL, kind=Kind.DIARIZATION)
    await publisher.publish("high", priority=Priority.HIGH)
    for task_id in ("low", "normal", "high"):
        # Then each is registered though no worker is free
        await publisher.until(task_id, State.QUEUED)
    engine.may_go_on.set()
    # And the high one is served first
    for task_id in ("low", "normal", "high"):
        await publisher.until(task_id, State.COMPLETED)
    assert await results(js) == ["busy", "high", "normal", "low"]


async def test_a_retry_gets_the_next_free_slot_before_all_waiting_tasks(
    publisher: Publisher, settings: Settings, engine: FakeEngine, js: JetStreamContext
) -> None:
    engine.may_go_on.clear()
    engine.fail_with = [TransientError(ErrorCode.ENGINE_FAILED, "The engine died: it is tried again.")]
    async with working(settings.model_copy(update={"task_retry_delay": 1.0}), engine):
        # Given a task of the lowest priority, which failed once, and another one that runs when the retry is due
        for task_id in ("retried", "runs"):
            await publisher.publish(task_id, priority=Priority.LOW)
        retrying = (await publisher.until("retried", State.RETRYING))[-1]
        await publisher.until("runs", State.RUNNING)
        await eventually(lambda: retrying.retry_at is not None and datetime.now(UTC) > retrying.retry_at)
        # When an urgent task waits, and the slot becomes free
        await publisher.reaching(State.QUEUED, "urgent", priority=Priority.HIGH, user_id="another")
        engine.may_go_on.set()
        # Then the retry goes first
        await publisher.until("urgent", State.COMPLETED)
    assert await results(js) == ["runs", "retried", "urgent"]


async def test_workers_share_waiting_tasks(publisher: Publisher, start_worker: StartWorker) -> None:
    # Given two workers, of which each needs a moment for a task
    first, second = FakeEngine(), FakeEngine()
    for engine in (first, second):
        engine.may_go_on.clear()
    async with start_worker(first), start_worker(second):
        # When there are two tasks
        await publisher.publish("a")
        await publisher.publish("b")
        a, b = await publisher.until("a", State.RUNNING), await publisher.until("b", State.RUNNING)
        # Then each worker runs one, and none holds the task of an idle worker
        assert a[-1].worker != b[-1].worker
        first.may_go_on.set()
        second.may_go_on.set()
        await publisher.until("a", State.COMPLETED)
        await publisher.until("b", State.COMPLETED)


async def test_a_second_publish_of_a_known_id_changes_nothing(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that has ended
    events = await publisher.reaching(State.COMPLETED, "t1")
    # When its id is used again, by a transcription or a diarization
    await publisher.publish("t1")
    await publisher.publish("t1", kind=Kind.DIARIZATION)
    # Then the messages are deleted from the queue
    await eventually(lambda: queue_is_empty(js))
    # And the task did not run again, and no event was appended
    assert await publisher.until("t1", State.COMPLETED) == events
    assert len(engine.jobs) == 1
    assert (await js.stream_info("transcription_results")).state.messages == 1


async def test_a_full_queue_refuses_the_publisher(
    publisher: Publisher, settings: Settings, js: JetStreamContext
) -> None:
    # Given queues for two tasks each
    await provision(js, settings.model_copy(update={"nats_max_msgs_per_subject": 2}))
    await publisher.publish("first")
    await publisher.publish("second")
    # When a third one is published
    with pytest.raises(ServiceUnavailableError) as refused:
        await publisher.publish("third")
    # Then its publisher gets an error, the first is still there, and the other queues have room
    assert refused.value.err_code == 10077
    assert parsed(await js.get_msg("transcription_tasks", 1))["task_id"] == "first"
    await publisher.publish("fourth", priority=Priority.HIGH)


async def test_a_misspelt_priority_is_refused(js: JetStreamContext, worker: Worker) -> None:
    with pytest.raises(NoStreamResponseError):
        await js.publish("tasks.transcription.urgent", b"{}")


async def test_users_take_turns_whatever_their_tasks_are(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
) -> None:
    # Given a worker that is busy with a task of a user who has more of them, and then a diarization of another user
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "busy")
        positions = []
        for task_id in ("t1", "t2", "t3", "d1"):
            kind = Kind.DIARIZATION if task_id == "d1" else Kind.TRANSCRIPTION
            await publisher.publish(task_id, kind=kind, user_id=8 if task_id == "d1" else 7)
            positions.append((await publisher.until(task_id, State.QUEUED))[0].queue_position)
        # Then each has its position: the other user, who has nothing running, is next
        assert positions == [1, 2, 3, 1]
        # When the worker continues
        engine.may_go_on.set()
        await publisher.until("t3", State.COMPLETED)
    # Then the diarization did not wait for them
    assert await results(js) == ["busy", "d1", "t1", "t2", "t3"]


async def test_no_priority_waits_forever(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a busy worker behind which more high tasks wait than it will do, and some of the other priorities
    engine.may_go_on.clear()
    async with start_worker(engine):
        await publisher.reaching(State.RUNNING, "busy")
        for number in range(30):
            await publisher.publish(f"high-{number}", priority=Priority.HIGH)
        for number in range(8):
            await publisher.publish(f"normal-{number}", kind=Kind.DIARIZATION if number % 2 else Kind.TRANSCRIPTION)
        for number in range(2):
            await publisher.publish(f"low-{number}", priority=Priority.LOW)
        # When the worker continues
        engine.may_go_on.set()
        await publisher.until("low-1", State.COMPLETED)
        await publisher.until("high-29", State.COMPLETED)
    # Then each sixteenth task was a low one, and four of them were normal
    order = (await results(js))[1:]
    priorities = [task_id.partition("-")[0] for task_id in order]
    assert [number for number, priority in enumerate(priorities) if priority == "low"] == [14, 30]
    assert Counter(priorities[:16]) == Counter(priorities[16:32]) == {"high": 11, "normal": 4, "low": 1}
    # And all others were high ones, in their order
    assert [task_id for task_id in order if task_id.startswith("high")] == [f"high-{number}" for number in range(30)]


async def test_a_stopping_worker_releases_its_task(publisher: Publisher, start_worker: StartWorker) -> None:
    # Given a worker in the middle of a task
    first, second = FakeEngine(), FakeEngine()
    first.may_go_on.clear()
    async with start_worker(first) as stopping:
        await publisher.reaching(State.RUNNING, "t1")
        # When it is stopped
    # Then the task waits again
    assert first.stopped == 1
    async with start_worker(second):
        # And another worker runs it, as the same attempt
        events = await publisher.until("t1", State.COMPLETED)
    assert [event.state for event in events[:4]] == [State.QUEUED, State.RUNNING, State.QUEUED, State.RUNNING]
    assert events[-1].attempt == 1
    assert events[-1].worker != stopping.container.worker_name


@pytest.mark.foreign
@pytest.mark.parametrize("status", ["404", "503"])
@pytest.mark.parametrize(
    ("header", "waits"),
    [("Status", True), ("Nats-Sequence", True), ("Nats-Subject", True), ("Nats-Num-Pending", True), ("Status", False)],
)
async def test_a_publishers_own_headers_are_not_the_servers(
    publisher: Publisher, worker: Worker, engine: FakeEngine, header: str, waits: bool, status: str
) -> None:
    # Given a worker that is busy or idle, and a task with a header that the server uses
    if waits:
        engine.may_go_on.clear()
        await publisher.reaching(State.RUNNING, "t1")
    task = {"task_id": "t2", "audio_file_id": "meeting.flac", "user_id": 7}
    subject = subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)
    await publisher.js.publish(subject, json.dumps(task).encode(), headers={header: status})
    # When it is granted
    engine.may_go_on.set()
    # Then it completes like any other
    await publisher.until("t2", State.COMPLETED)


@pytest.mark.foreign
@pytest.mark.parametrize("status", ["404", "503"])
async def test_a_foreign_status_on_a_tasks_log_ends_no_reading(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings, status: str
) -> None:
    # Given a running task
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    # When another client writes into its log, with a status that servers reply with
    await publisher.js.publish(subjects.append_to(subjects.progress("t1")), b"junk", headers={"Status": status})
    engine.may_go_on.set()

    # Then the task completes nevertheless, and a client that follows it receives that
    await eventually(partial(is_completed, publisher))
    async with Client(settings) as client:
        states = [event.state async for event in client.follow("t1") if isinstance(event, ProgressEvent)]
    assert states[-1] is State.COMPLETED


async def is_completed(publisher: Publisher) -> bool:
    return bool((await publisher.request("tasks.status", task_id="t1")).get("state") == "completed")


async def test_the_heartbeat_interval_depends_on_the_ack_wait(
    publisher: Publisher, settings: Settings, start_worker: StartWorker
) -> None:
    # Given consumers that were made when TASK_ACK_WAIT was a second, and workers whose setting is a minute
    async with start_worker(FakeEngine()):
        pass
    since = settings.model_copy(update={"task_ack_wait": 60.0, "task_heartbeat": 20.0})
    engines = [FakeEngine(), FakeEngine()]
    for engine in engines:
        engine.may_go_on.clear()
    async with working(since, engines[0]), working(since, engines[1]):
        # When a task takes longer than that without an end
        await publisher.reaching(State.RUNNING, "t1")
        # Then it is not delivered to another worker
        with pytest.raises(AssertionError):
            await eventually(lambda: all(engine.jobs for engine in engines), within=2 * settings.task_ack_wait)
        for engine in engines:
            engine.may_go_on.set()
        events = await publisher.until("t1", State.COMPLETED)
        assert events[-1].attempt == 1
