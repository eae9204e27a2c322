"""Retention: the data of a task is erased when its time is over, and not before."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind
from redis.asyncio import Redis
from structlog.testing import capture_logs

from app.main import Worker
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from app.speech.updates import Result
from app.storage.recordings.recording import RecordingStore
from app.tasks.task_log.record import Record
from app.tasks.task_log.results import ResultStore
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.places import places_with, read_behind_the_leader
from tests.integration.reminders import find_reminder, let_time_pass
from tests.servers import NatsServer
from tests.waiting import eventually

DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")
RECORDING = "anna's meeting.flac"


@pytest.fixture(autouse=True)
def _in_a_bucket(settings: Settings, constants: Constants) -> None:
    settings.audio_store = "nats://audio"
    settings.cache_ttl = 3600
    # The markers that prevent late workers from writing keys again expire after ten minutes.
    constants(TOMBSTONE_S=1)


async def upload(js: JetStreamContext) -> None:
    await (await js.object_store("audio")).put(RECORDING, b"not looked at by a fake engine")


async def is_uploaded(js: JetStreamContext) -> bool:
    try:
        await (await js.object_store("audio")).get_info(RECORDING)
    except NotFoundError:
        return False
    return True


async def nothing_is_due(js: JetStreamContext) -> bool:
    info = await js.consumer_info("transcription_retention", "transcription_worker_retention_of_due_reminders")
    state = (await js.stream_info("transcription_retention", subjects_filter=subjects.ALL_DUE)).state
    return not state.subjects and not info.num_ack_pending


class LateResults:
    """Publishes the results of a worker when the test lets it, or fails."""

    def __init__(self, results: ResultStore, *, fail: bool) -> None:
        self.reached = asyncio.Event()  # the engine has found everything
        self.may_go_on = asyncio.Event()
        self._publish = results.publish
        self._fail = fail

    async def publish(self, result: Result, last: Record) -> None:
        self.reached.set()
        if self._fail:
            raise DIED
        await self.may_go_on.wait()
        await self._publish(result, last)


async def end_a_task(
    publisher: Publisher, engine: FakeEngine, worker: Worker, monkeypatch: pytest.MonkeyPatch, *, how: str
) -> datetime:
    """A task of anna with a retention of one minute, and the time of its end."""
    what, _, end = how.rpartition(", then ")
    results = LateResults(worker.container.results, fail=end == "failed")
    await upload(publisher.js)
    if end == "large":
        engine.windows, engine.text = 30, "word " * 10_000
    if what:
        monkeypatch.setattr(worker.container.results, "publish", results.publish)
    elif end == "cancelled":
        engine.may_go_on.clear()
    kind = Kind.DIARIZATION if "diarized" in how else Kind.TRANSCRIPTION
    await publisher.publish("t-gone", kind=kind, audio_file_id=RECORDING, user_id="anna", keep_seconds=60)
    if end == "cancelled":
        await publisher.until("t-gone", State.RUNNING)
        if what:
            await results.reached.wait()
        await publisher.request("tasks.cancel", task_id="t-gone")
        results.may_go_on.set()
    events = await publisher.until("t-gone", State(end if end in {"failed", "cancelled"} else "completed"))
    await eventually(lambda: queue_is_empty(publisher.js))
    return events[-1].time


@pytest.mark.parametrize(
    "end",
    ["completed", "large", "diarized", "cancelled", "diarized, then failed", "diarized, then cancelled"],
)
async def test_no_data_of_a_task_is_left_after_its_retention(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    of_hers = ("t-gone", "anna", "one two", "word word", RECORDING, "heard")
    with capture_logs() as logs:
        async with start_worker(engine) as worker:
            # Given a task that has ended, with a retention of one minute and with data in many streams
            ended = await end_a_task(publisher, engine, worker, monkeypatch, how=end)
            await eventually(lambda: redis.exists("task:t-gone:info"))
            stored_reminder = await eventually(lambda: find_reminder(js, "t-gone"))
            assert abs(stored_reminder[1] - ended - timedelta(minutes=1)) < timedelta(seconds=2)
            names = {name.split()[0] for name in await places_with(js, redis, *of_hers)}
            assert names > {"transcription_progress", "transcription_results", "transcription_retention", "OBJ_audio"}
            # When the minute is over
            await let_time_pass(js, "t-gone")

            # Then there is nothing of it in any stream, bucket or key, but the event that it was erased
            async def nowhere() -> bool:
                return await places_with(js, redis, *of_hers) == ["transcription_erased erased.t-gone"]

            await eventually(nowhere)
            event = json.loads((await js.get_last_msg("transcription_erased", "erased.t-gone")).data or b"")
            assert event.pop("time")
            assert event == {"task_id": "t-gone", "user_id": "anna", "reason": "retention"}
            for bucket in ("OBJ_audio", "OBJ_results"):
                assert (await js.stream_info(bucket)).state.messages == 0
    # And the log names the task, and neither its user, nor its recording, nor its text
    assert [entry["task_id"] for entry in logs if entry["event"] == "task_erased"] == ["t-gone"]
    assert not [word for word in ("anna", RECORDING, "one two", "word word") if word in str(logs)]


async def test_what_is_due_while_nobody_runs_is_erased_afterwards(
    settings: Settings, nats_server: NatsServer, start_worker: StartWorker, engine: FakeEngine
) -> None:
    """The servers of this test are its own, so that it can stop them."""
    settings.nats_url, settings.audio_ttl = nats_server.url, 2
    async with start_worker(engine) as worker:
        publisher = Publisher(worker.container.nats)
        await upload(publisher.js)
        # Given a task that has ended
        ended = (await publisher.reaching(State.COMPLETED, "t1", audio_file_id=RECORDING))[-1].time
        await eventually(lambda: find_reminder(publisher.js, "t1"))
    # When its time passes while neither NATS nor a worker runs
    await nats_server.kill()
    await asyncio.sleep(max(2 - (datetime.now(UTC) - ended).total_seconds(), 0))
    await nats_server.start()
    # Then the next worker erases the recording
    async with start_worker(engine) as worker:
        js = worker.container.nats.jetstream()

        async def is_gone() -> bool:
            return not await is_uploaded(js)

        await eventually(is_gone)


@pytest.mark.parametrize(
    "error", [TransientError(ErrorCode.INTERNAL, "The bucket is away."), ValueError("a fault")], ids=["away", "fault"]
)
async def test_an_erasure_that_fails_is_repeated_and_seen(
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
    error: Exception,
) -> None:
    constants(ERASE_AGAIN_AFTER_S=0.2)
    async with start_worker(engine) as worker:
        # Given a bucket that cannot be reached
        recordings: RecordingStore = worker.container.recordings
        delete, may_succeed = recordings.delete, asyncio.Event()
        tries = 0

        async def unreachable(audio_file_id: str, /) -> None:
            nonlocal tries
            tries += 1
            if not may_succeed.is_set():
                raise error
            await delete(audio_file_id)

        monkeypatch.setattr(recordings, "delete", unreachable)
        await upload(js)
        await publisher.reaching(State.COMPLETED, "t1", audio_file_id=RECORDING, keep_seconds=60)
        # When the time is over
        await let_time_pass(js, "t1")
        await eventually(lambda: tries >= 2)
        # Then operators see it
        await worker.container.maintenance.measure_queues()
        text = worker.container.meter.exposition()
        assert overdue(text) > 0
        assert b"natscribe_reminders 1.0" in text
        assert b"natscribe_erasures_failed_total 0.0" not in text
        # And it is erased when the bucket is back
        may_succeed.set()
        await eventually(lambda: nothing_is_due(js))
        assert await places_with(js, redis, RECORDING) == []
        await worker.container.maintenance.measure_queues()
        text = worker.container.meter.exposition()
        assert overdue(text) == 0
        assert b"natscribe_reminders 0.0" in text
        assert b'natscribe_erasures_total{what="recording"} 1.0' in text
        assert b'natscribe_erasures_total{what="task"} 1.0' in text


def overdue(exposition: bytes) -> float:
    (line,) = (
        line for line in exposition.decode().splitlines() if line.startswith("natscribe_erasure_overdue_seconds ")
    )
    return float(line.split()[1])


async def test_a_recording_stays_whose_next_task_only_the_leader_knows(
    settings: Settings,
    publisher: Publisher,
    start_worker: StartWorker,
    engine: FakeEngine,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.audio_ttl, settings.cache_ttl = 3600, 0
    async with start_worker(engine) as worker:
        # Given a recording whose task has ended, and another task with it that runs
        await upload(js)
        await publisher.reaching(State.COMPLETED, "t1", audio_file_id=RECORDING)
        reminder, _ = await eventually(lambda: find_reminder(js, "t1"))
        engine.may_go_on.clear()
        await publisher.reaching(State.RUNNING, "t2", audio_file_id=RECORDING)
        # When the time of the first one is over, and a server replies that is behind the leader
        read_behind_the_leader(monkeypatch)
        due = reminder.model_copy(update={"recording_until": datetime.now(UTC)})
        await worker.container.reminders.put(due)

        async def is_settled() -> bool:
            stored_reminder = await find_reminder(js, "t1")
            return stored_reminder is not None and stored_reminder[0].recording_until is None

        await eventually(is_settled)
        # Then the recording stays
        assert await is_uploaded(js)
        engine.may_go_on.set()
