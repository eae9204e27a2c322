"""A delivery settles its message, and releases only a task that is certainly its own."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest
from nats.aio.client import Client
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.transcription import TranscriptionResult, TranscriptionTask

from app.runtime.errors import PermanentError, TransientError
from app.runtime.telemetry.metrics import Meter
from app.runtime.telemetry.tracing import OFF
from app.speech.updates import Progress
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.beginning import Beginning
from app.tasks.execution.delivery import Delivery
from app.tasks.execution.heartbeat import Heartbeat
from app.tasks.execution.settlement import Settlement
from app.tasks.execution.telemetry import Telemetry
from app.tasks.task_log.record import Record
from handlers.task_middlewares import (
    AttemptMiddleware,
    DeliveryMiddleware,
    HeartbeatMiddleware,
    SettlementMiddleware,
    TelemetryMiddleware,
)
from tests.constants import Constants
from tests.fakes.delivery import SETTINGS, FakeLetters, FakeMessage, Handler, delivery, granted, process
from tests.fakes.messages import event
from tests.fakes.nats import InMemoryNats
from tests.fakes.task_log import InMemoryTaskLog
from tests.publishers import broker_on
from tests.unit.execution.test_attempt import METADATA, RESULT, FakeResults
from tests.waiting import eventually

TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
QUEUED = event(time=METADATA.created_at - timedelta(minutes=1))


@dataclass
class FakeRegistration:
    """Finds each task registered, as soon as it `may_go_on`."""

    log: InMemoryTaskLog
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def register(self, *_: object, **__: object) -> Record:
        self.begun.set()
        await self.may_go_on.wait()
        last = await self.log.last("t1")
        assert last is not None
        return last


class Given:
    """A delivery that is processed, with all that it needs."""

    def __init__(
        self,
        log: InMemoryTaskLog,
        *,
        heartbeat: float = 60,
        timeout: float = 60,
        ack_wait: float = 15,
        connection: ConnectionMonitor | None = None,
        registers: bool = True,
    ) -> None:
        self.log, self.message = log, FakeMessage(data=TASK.model_dump_json().encode())
        self.registration, meter = FakeRegistration(log), Meter()
        if registers:
            self.registration.may_go_on.set()
        parts: dict[str, Any] = {"log": log, "registration": self.registration, "results": FakeResults(log)}
        settled: dict[str, Any] = {
            "log": log,
            "messages": SimpleNamespace(find=AsyncMock(return_value=None), delete=AsyncMock(), note_retry=AsyncMock()),
            "dead_letters": FakeLetters(self.message.done),
            "reminders": None,
            "projection": None,
        }
        tracer = OFF.get_tracer("tests")
        self.beginning = Beginning(**parts, connection=connection or ConnectionMonitor(), meter=meter, tracer=tracer)
        settings = SETTINGS.model_copy(update={"task_heartbeat": heartbeat, "task_ack_wait": ack_wait})
        self.middlewares = (
            partial(DeliveryMiddleware, partial(Delivery.of, settings=settings, ack_wait=ack_wait)),
            partial(TelemetryMiddleware, Telemetry("w", meter)),
            partial(SettlementMiddleware, Settlement(**settled, max_attempts=4, retry_delay=0)),
            partial(HeartbeatMiddleware, Heartbeat(AsyncMock(spec=Client), meter, timeout)),
            partial(AttemptMiddleware, self.beginning),
        )

    def work(self, handle: Handler) -> asyncio.Task[None]:
        return asyncio.create_task(process(self.middlewares, granted(self.message), handle))

    def begin(self) -> asyncio.Task[None]:
        async def complete(_: TaskAttempt) -> TranscriptionResult:
            return RESULT

        return self.work(complete)

    def fails_with(self, error: Exception) -> asyncio.Task[None]:
        async def fail(_: TaskAttempt) -> None:
            raise error

        return self.work(fail)

    @property
    def states(self) -> list[State]:
        return [event.state for event in self.log.events("t1")]


async def hang(_: TaskAttempt) -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def log() -> InMemoryTaskLog:
    log = InMemoryTaskLog()
    await log.push(QUEUED, METADATA)
    return log


@pytest.mark.parametrize(
    ("heartbeat", "begins", "settled"),
    [
        pytest.param(60, False, ["nak"], id="it was just delivered"),
        pytest.param(0.01, False, [], id="it has not begun within a heartbeat: another worker may have the message"),
        pytest.param(0.01, True, ["nak"], id="it runs"),
    ],
)
async def test_a_stopping_worker_releases_what_is_certainly_its_own(
    log: InMemoryTaskLog, heartbeat: float, begins: bool, settled: list[str]
) -> None:
    # Given a message that was delivered
    given, handled = Given(log, heartbeat=heartbeat, registers=begins), asyncio.Event()

    async def handle(_: TaskAttempt) -> None:
        handled.set()
        await asyncio.Event().wait()

    working = given.work(handle)
    await (handled if begins else given.registration.begun).wait()
    if heartbeat < 1:
        await given.message.beats_on()
    # When its worker stops, then the message is released, or left alone
    working.cancel()
    await working
    assert given.message.done == settled


async def test_a_settlement_that_has_begun_is_finished_though_the_worker_stops(
    log: InMemoryTaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a failed task whose dead letter is being stored
    given, begun, may_go_on, put = Given(log), asyncio.Event(), asyncio.Event(), FakeLetters.put_failed

    async def held(letters: FakeLetters, message: object, last: ProgressEvent) -> bool:
        begun.set()
        await may_go_on.wait()
        return await put(letters, message, last)

    monkeypatch.setattr(FakeLetters, "put_failed", held)
    working = given.fails_with(PermanentError(ErrorCode.WORKER_LOST, "The worker died."))
    await begun.wait()
    # When its worker stops, then the message is settled nevertheless
    working.cancel()
    may_go_on.set()
    await working
    assert (given.states[-1], given.message.done) == (State.FAILED, ["letter", "ack"])


async def test_nothing_is_appended_or_settled_behind_an_append_that_may_be_stored_or_not(
    log: InMemoryTaskLog, constants: Constants
) -> None:
    # Given a delivery whose `running` is not acknowledged
    constants(LAST_APPEND_TIMEOUT_S=0.01)
    log.progress_stream.stored.clear()
    log.progress_stream.acknowledges.clear()
    given = Given(log)
    working = given.begin()
    await log.progress_stream.stored.wait()
    # When its worker stops
    working.cancel()
    await working
    # Then that was the last append, and the message is left alone
    assert given.states == [State.QUEUED, State.RUNNING]
    assert given.message.done == []


async def test_a_task_that_fails_before_its_start_has_run(
    log: InMemoryTaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that was released, and whose outcome cannot be read at first
    for sequence, state in [(2, State.RUNNING), (3, State.QUEUED)]:
        await log.push(QUEUED.model_copy(update={"state": state, "sequence": sequence}), METADATA)
    outcome = log.outcome

    async def unanswered(*_: object, **__: object) -> None:
        monkeypatch.setattr(log, "outcome", outcome)
        raise TransientError(ErrorCode.INTERNAL, "JetStream does not answer.")

    monkeypatch.setattr(log, "outcome", unanswered)
    given = Given(log)
    # When it fails for that
    await given.begin()
    # Then its log shows `running` before it shows the failure
    assert given.states == [State.QUEUED, State.RUNNING, State.QUEUED, State.RUNNING, State.RETRYING]


async def test_an_attempt_ends_in_time_though_a_cancellation_is_swallowed(log: InMemoryTaskLog) -> None:
    # Given an attempt that swallows a cancellation, as nats-py does while it flushes
    given = Given(log, timeout=0.05)

    async def handle(_: TaskAttempt) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    # When its time is up, then it has ended
    await asyncio.wait_for(given.work(handle), 5)
    error = log.events("t1")[-1].error
    assert error is not None
    assert error.code is ErrorCode.TIMEOUT
    assert error.message.startswith("The attempt made no progress for TASK_TIMEOUT (0.05 s): ")
    assert given.states[-1] is State.RETRYING


async def test_the_time_of_an_attempt_counts_from_its_last_progress(
    log: InMemoryTaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt that has made no progress for a while
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    attempt = await Given(log).beginning.begin(delivery(FakeMessage(data=TASK.model_dump_json().encode())))
    now[0] += 50
    assert attempt.seconds_since_progress == 50
    # When a window is transcribed, or a part of the recording is diarized, then its time begins again
    for stage in (Stage.TRANSCRIBING, Stage.DIARIZING):
        now[0] += 50
        await attempt.append(Progress(stage, 0.0, 10, 20))
        assert attempt.seconds_since_progress == 0


async def test_a_task_that_cannot_start_in_time_is_redelivered(log: InMemoryTaskLog) -> None:
    # Given a task whose attempt does not begin, as when its model is never loaded
    given = Given(log, timeout=0.05, registers=False)
    # When its time is up, then its message goes back
    done, _ = await asyncio.wait([given.begin()], timeout=5)
    assert (len(done), given.message.done) == (1, ["nak"])


async def test_another_timeout_is_not_that_of_the_attempt(log: InMemoryTaskLog) -> None:
    # Given an attempt with time left, when an unforeseen timeout ends it
    given = Given(log)
    await given.fails_with(TimeoutError())
    assert given.states[-1] is State.RETRYING
    # Then the error does not suggest to raise TASK_TIMEOUT
    error = log.events("t1")[-1].error
    assert error is not None
    assert error.code is ErrorCode.INTERNAL


async def test_a_worker_that_stops_before_it_knows_whether_a_task_runs_elsewhere_appends_nothing(
    log: InMemoryTaskLog,
) -> None:
    # Given a task that another worker runs, or did before an outage that is just over
    await log.push(QUEUED.model_copy(update={"state": State.RUNNING, "sequence": 2}), METADATA)
    given = Given(log, connection=after_an_outage())
    working = given.begin()
    await given.registration.begun.wait()
    # When the worker to which it was delivered stops
    working.cancel()
    await working
    # Then the one that runs it still owns it
    assert given.states == [State.QUEUED, State.RUNNING]
    assert given.message.done == ["nak"]


@pytest.mark.parametrize(
    ("last", "error"),
    [
        pytest.param({}, ErrorCode.WORKER_LOST, id="none is left"),
        pytest.param({"attempt": 3}, None, id="one is left"),
        pytest.param({"stage": Stage.DIARIZING}, None, id="only speakers are missing"),
        pytest.param({"state": State.QUEUED}, None, id="it was released"),
    ],
)
async def test_a_task_fails_whose_worker_was_lost_in_the_last_attempt(
    log: InMemoryTaskLog, last: dict[str, object], error: ErrorCode | None
) -> None:
    # Given a task that has had all its attempts, without an event for a minute
    at = datetime.now(UTC) - timedelta(minutes=1)
    running = {"state": State.RUNNING, "attempt": 4, "sequence": 2, "time": at}
    await log.push(QUEUED.model_copy(update=running | last), METADATA)
    given = Given(log)
    # When its message is delivered again, then it fails at once unless another attempt may begin
    await asyncio.wait_for(given.begin(), 5)
    failure = log.events("t1")[-1].error
    assert (failure and failure.code) == error
    assert given.message.done == (["letter", "ack"] if error else ["ack"])


def after_an_outage() -> ConnectionMonitor:
    connection = ConnectionMonitor()
    connection.restored()
    return connection


def at_the_beginning() -> ConnectionMonitor:
    connection = ConnectionMonitor()
    connection.connected(broker_on(InMemoryNats().client))
    return connection


@pytest.mark.parametrize(
    ("appended_ago", "ack_wait", "connection"),
    [
        pytest.param(0, 15, ConnectionMonitor, id="it appended a moment ago"),
        pytest.param(60, 15, after_an_outage, id="it could not append in an outage"),
        pytest.param(60, 15, at_the_beginning, id="it could not append before this worker began"),
        pytest.param(60, 0.01, at_the_beginning, id="workers count as dead sooner than they reconnect"),
    ],
)
async def test_a_task_that_another_worker_runs_is_left_to_it(
    log: InMemoryTaskLog,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
    appended_ago: float,
    ack_wait: float,
    connection: Callable[[], ConnectionMonitor],
) -> None:
    # Given a running task whose message was delivered again, though its worker may be alive
    constants(LOG_POLL_INTERVAL_S=0.01)
    then = datetime.now(UTC) - timedelta(seconds=appended_ago)
    running = QUEUED.model_copy(update={"state": State.RUNNING, "sequence": 2, "time": then})
    await log.push(running, METADATA)
    given, reads, last = Given(log, ack_wait=ack_wait, connection=connection()), 0, log.last

    async def counted_last(task_id: str) -> Record | None:
        nonlocal reads
        reads += 1
        return await last(task_id)

    async def has_read_often() -> bool:
        return reads > 5

    monkeypatch.setattr(log, "last", counted_last)
    working = given.begin()
    await eventually(has_read_often)
    # When that worker appends again
    await log.push(running.model_copy(update={"sequence": 3}), METADATA)
    # Then this worker leaves the message alone
    await working
    assert given.states == [State.QUEUED, State.RUNNING, State.RUNNING]
    assert given.message.done == []
