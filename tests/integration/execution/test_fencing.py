"""A fenced worker stops and settles nothing; the next one finds what was published before."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.headers import TASK_SEQUENCE
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult

from app.engines.messages import FindWindows
from app.fleet.stream_guard import provisioning
from app.main import Worker
from app.runtime.errors import FencedError, TransientError
from app.settings import Settings
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.record import Metadata, Record
from app.tasks.task_log.results import ResultStore
from tests.fakes.engine import FakeEngine, segment
from tests.fakes.messages import event, transcript
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.publishers import publishers
from tests.waiting import eventually

QUEUED = event()
MEETING = sha256(b"not looked at by a fake engine").hexdigest()


async def test_a_fenced_worker_leaves_the_message_to_others(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings, nc: Client, js: JetStreamContext
) -> None:
    # Given a worker in the middle of a task
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t1")
    await eventually(lambda: bool(engine.jobs))
    # When another one appends `running`
    other = TaskLog(nc, publishers(nc), settings.stream_names, "other")
    last = await other.last("t1")
    assert last is not None
    changes = {"sequence": last.event.sequence + 1, "worker": "other", "time": datetime.now(UTC)}
    await other.append(last.event.model_copy(update=changes), last.metadata, after=last.stream_sequence)
    # Then the first one stops its engine, and the message stays for the other one
    await eventually(lambda: engine.stopped > 0)
    engine.may_go_on.set()
    # And when that one appends nothing more, the task is done nevertheless
    events = await publisher.until("t1", State.COMPLETED)
    assert events[-1].attempt == 2
    await eventually(lambda: queue_is_empty(js))


async def test_a_message_stays_although_the_note_of_a_late_cancellation_is_gone(
    publisher: Publisher, worker: Worker, settings: Settings, nc: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TaskLog(nc, publishers(nc), settings.stream_names, "other")
    publish, end = ResultStore.publish, TaskAttempt.end_with_stored_outcome

    async def fail(_: ResultStore, __: TranscriptionResult, last: Record) -> None:
        await other.forbid_result(last, None)
        monkeypatch.setattr(ResultStore, "publish", publish)
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    async def be_overtaken(attempt: TaskAttempt) -> bool:
        monkeypatch.setattr(TaskAttempt, "end_with_stored_outcome", end)
        last = attempt.record
        changes = {"sequence": last.event.sequence + 1, "worker": "other", "time": datetime.now(UTC)}
        await other.append(last.event.model_copy(update=changes), last.metadata, after=last.stream_sequence)
        await other.purge_outcome("t1")
        return await end(attempt)

    # Given an attempt that fails, and reads that the task is about to be cancelled
    monkeypatch.setattr(ResultStore, "publish", fail)
    # When another worker appends to the log before the attempt ends the task, and the cancellation begins again
    monkeypatch.setattr(TaskAttempt, "end_with_stored_outcome", be_overtaken)
    # Then the task message stays, and the task is done when that worker appends nothing more
    await publisher.reaching(State.COMPLETED, "t1")


async def test_an_attempt_continues_where_the_last_one_ran_out_of_time(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given an engine that hangs after its first window, and little time for an attempt
    settings.task_timeout = 2.5
    engine = FakeEngine()
    engine.hangs_after = [1, 1]
    async with start_worker(engine):
        # When a task is published
        events = await publisher.reaching(State.COMPLETED, "t1")
    # Then each attempt continues behind the windows that are done
    errors = [event.error.code for event in events if event.state is State.RETRYING and event.error]
    assert errors == ["timeout", "timeout"]
    assert [job.start_at if isinstance(job, FindWindows) else None for job in engine.jobs] == [0, 10, 20]
    assert (await js.stream_info("transcription_segments")).state.messages == 3


async def test_a_cancel_right_after_the_first_append_is_noticed(
    publisher: Publisher, worker: Worker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an engine that does not reply for a long time, and a task that is cancelled as soon as it runs
    engine.silent = True
    start = TaskAttempt.start

    async def cancelled(self: TaskAttempt, span: str | None = None) -> None:
        await start(self, span)
        monkeypatch.setattr(TaskAttempt, "start", start)  # the first one only
        await publisher.request("tasks.cancel", task_id="t1")

    monkeypatch.setattr(TaskAttempt, "start", cancelled)
    await publisher.reaching(State.CANCELLED, "t1")
    # Then the consumer is free for the next task long before the engine replies or the attempt appends
    await publisher.reaching(State.RUNNING, "t2")


async def test_a_task_that_takes_longer_than_the_ack_wait_is_delivered_once(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given a worker that needs several times the ack wait, and one that is free
    first, second = FakeEngine(), FakeEngine()
    for engine in (first, second):
        engine.may_go_on.clear()
    async with start_worker(first), start_worker(second):
        # When it does a task
        await publisher.reaching(State.RUNNING, "t1")
        await asyncio.sleep(2 * settings.task_ack_wait)  # what it takes
        first.may_go_on.set()
        second.may_go_on.set()
        events = await publisher.until("t1", State.COMPLETED)
        # Then no other worker got it
        ready = await js.consumer_info("transcription_ready", "transcription_worker_ready_recordings")
        assert ready.delivered is not None
        assert ready.delivered.consumer_seq == 1
    assert {event.attempt for event in events} == {1}
    assert len(first.jobs + second.jobs) == 1


async def append_batch(nc: Client, settings: Settings, metadata: Metadata, number: int, *, after: int) -> None:
    """The batch of one window, from a worker that does not own the task."""
    event = SegmentsEvent(
        task_id="t1",
        attempt=1,
        sequence=number + 1,
        language="en",
        processed_seconds=10.0 * (number + 1),
        segments=[segment(number)],
    )
    await TaskLog(nc, publishers(nc), settings.stream_names, "stale").append_segments(
        event, metadata, MEETING, after=after
    )


async def test_late_segments_of_a_lost_worker_end_no_attempt_of_another(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings, nc: Client, js: JetStreamContext
) -> None:
    # Given a worker that has appended the first window
    may_go_on = asyncio.Event()

    async def transcribes(number: int) -> None:
        if number > 0:
            await may_go_on.wait()

    engine.transcribes = transcribes  # type: ignore[method-assign]
    await publisher.publish("t1")

    async def first_appended() -> bool:
        return (await js.stream_info("transcription_segments")).state.messages == 1

    await eventually(first_appended)
    # When one that was frozen, and was taken for lost, appends the next
    last = await TaskLog(nc, publishers(nc), settings.stream_names, "stale").last("t1")
    assert last is not None
    await append_batch(nc, settings, last.metadata, 1, after=1)
    may_go_on.set()
    # Then the task is done nevertheless, in the same attempt, each window appended once
    events = await publisher.until("t1", State.COMPLETED)
    assert {event.attempt for event in events} == {1}
    assert [part["start"] for part in (await publisher.request("tasks.result", task_id="t1"))["segments"]] == [
        0,
        10,
        20,
    ]


async def test_segments_of_an_earlier_task_with_the_same_id_do_not_count(
    publisher: Publisher, worker: Worker, settings: Settings, nc: Client
) -> None:
    # Given segments that a frozen worker has appended for a task that was deleted
    metadata = Metadata(None, 99, "tasks.transcription.normal", datetime.now(UTC))
    await append_batch(nc, settings, metadata, 1, after=0)
    # When another task has its id
    await publisher.publish("t1")
    # Then it is done in its first attempt, from its beginning
    events = await publisher.until("t1", State.COMPLETED)
    assert {event.attempt for event in events} == {1}
    assert [part["start"] for part in (await publisher.request("tasks.result", task_id="t1"))["segments"]] == [
        0,
        10,
        20,
    ]


@pytest.mark.parametrize("text", ["short", "long " * 100_000], ids=["small", "as an object"])
async def test_a_late_result_of_an_earlier_task_with_the_same_id_does_not_count(
    publisher: Publisher, worker: Worker, engine: FakeEngine, settings: Settings, nc: Client, text: str
) -> None:
    # Given a task that runs, whose id was another user's before, and the late result of that one
    engine.may_go_on.clear()
    engine.text = text
    await publisher.js.publish("tasks.transcription.low", b"{")  # whatever was there before has a lower sequence
    await publisher.reaching(State.RUNNING, "t1")
    log = TaskLog(nc, publishers(nc), settings.stream_names, "late")
    last = await log.last("t1")
    assert last is not None
    late = transcript(f"secret {3 * text}", user_id=666, audio_file_id="secret.flac")
    metadata = replace(last.metadata, task_sequence=last.metadata.task_sequence - 1)
    await ResultStore(nc, log).publish(late, replace(last, metadata=metadata))
    # When the task is done
    engine.may_go_on.set()
    await publisher.until("t1", State.COMPLETED)
    # Then the reply is its own result
    reply = await publisher.request("tasks.result", task_id="t1")
    assert (reply["user_id"], reply["audio_file_id"]) == (7, "meeting.flac")
    loaded = await ResultStore(nc, log).load_segments(TranscriptionResult.model_validate(reply))
    assert isinstance(loaded, TranscriptionResult)
    assert "secret" not in loaded.text
    assert loaded.text


@pytest.mark.parametrize("text", ["short", "long " * 300_000], ids=["small", "as an object"])
async def test_a_late_worker_deletes_nothing_of_a_later_task_with_the_same_id(
    nc: Client, js: JetStreamContext, settings: Settings, text: str
) -> None:
    # Given the result of a task message
    await provisioning.provision(js, settings)
    log = TaskLog(nc, publishers(nc), settings.stream_names, "w")
    results = ResultStore(nc, log)
    last = Record(QUEUED, Metadata(None, 9, "tasks.transcription.normal", datetime.now(UTC)), 1)
    mine = transcript(text)
    await results.publish(mine, last)
    # When a worker comes back with the result of an earlier message with this id, and removes it
    late = replace(last, metadata=replace(last.metadata, task_sequence=8))
    with pytest.raises(FencedError):
        await results.publish(mine.model_copy(update={"user_id": 666}), late)
    await results.delete("t1", of=late.metadata.owner)
    # Then the other one is there
    stored_result = await results.find(last)
    assert stored_result is not None
    assert (await results.load_segments(stored_result)) == mine


@pytest.mark.foreign
async def test_a_copied_result_of_another_task_is_no_result(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a task that runs, and the result of another one, copied over its own
    await publisher.reaching(State.COMPLETED, "t1")
    engine.may_go_on.clear()
    await publisher.reaching(State.RUNNING, "t2", user_id=8)
    copied = await js.get_last_msg("transcription_results", "results.t1")
    owner = (await js.get_last_msg("transcription_progress", "progress.t2")).headers or {}
    own = {name: value for name, value in (copied.headers or {}).items() if not name.startswith("Nats-")}
    headers = own | {TASK_SEQUENCE: owner[TASK_SEQUENCE]}
    assert not (await js.publish("append.results.t2", copied.data or b"", headers=headers)).duplicate
    # When the task is done
    engine.may_go_on.set()
    await publisher.until("t2", State.COMPLETED)
    # Then the reply is its own result
    reply = await publisher.request("tasks.result", task_id="t2")
    assert (reply["task_id"], reply["user_id"]) == ("t2", 8)
