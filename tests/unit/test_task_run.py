"""A delivery says what its task is up to, and gives back only what is certainly its own."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from redis.asyncio import Redis

from app.dead_letters.store import DeadLetterStore
from app.errors import PermanentError
from app.execution.settlement import Settlement
from app.execution.task_run import Execution, TaskRun
from app.jetstream.connection_monitor import ConnectionMonitor
from app.queue.registration import Registration
from app.redis_store.projection import RedisProjection
from app.task_log.record import Record
from app.task_log.results import ResultStore
from app.telemetry.metrics import Meter
from app.telemetry.tracing import OFF
from schemas.errors import ErrorCode
from schemas.progress import ProgressEvent, State
from schemas.transcription import TranscriptionTask
from schemas.wire import Kind
from tests.fakes.task_log import InMemoryTaskLog
from tests.unit.test_attempt import METADATA, FakeResults
from tests.unit.test_heartbeat import FakeMessage as Beating
from tests.unit.test_heartbeat import FakeNats, beats_on
from tests.unit.test_settlement import FakeLetters, Story
from tests.unit.test_settlement import FakeMessage as Settled
from tests.waiting import eventually

TASK = TranscriptionTask(task_id="t1", audio_file_id="meeting.flac", user_id=7)
QUEUED = ProgressEvent(
    task_id="t1",
    kind=Kind.TRANSCRIPTION,
    state=State.QUEUED,
    max_attempts=4,
    sequence=1,
    time=METADATA.created_at - timedelta(minutes=1),
)


@dataclass
class FakeMessage(Beating, Settled):
    """Has an end, and signs of life before it."""

    reply: str = "ack.t1"


@dataclass
class FakeRegistration:
    """Finds each task registered."""

    log: InMemoryTaskLog

    async def register(self, *_: object, **__: object) -> Record:
        last = await self.log.last("t1")
        assert last is not None
        return last


class Hand:
    """A delivery, and what becomes of it."""

    def __init__(
        self, log: InMemoryTaskLog, *, heartbeat: float = 60, connection: ConnectionMonitor | None = None
    ) -> None:
        self.log, self.story = log, Story()
        self.message = FakeMessage(story=self.story)
        self.connection = connection or ConnectionMonitor()
        letters = cast("DeadLetterStore", FakeLetters(self.story))
        tools = Execution(
            nats=cast("Client", FakeNats()),
            log=log,
            registration=cast("Registration", FakeRegistration(log)),
            results=cast("ResultStore", FakeResults(log)),
            settlement=Settlement(
                log,
                letters,
                RedisProjection(Redis()),  # nothing is asked of it
                Meter(),
                max_attempts=4,
                retry_delay=0,
            ),
            meter=Meter(),
            connection=self.connection,
            heartbeat=heartbeat,
            ack_wait=15,
            timeout=60,
            tracer=OFF.get_tracer("tests"),
        )
        self.delivery = TaskRun(tools, cast("Msg", self.message))

    def work(self, handle: Callable[[], Awaitable[object]]) -> asyncio.Task[None]:
        return asyncio.create_task(self.delivery.work(handle))

    def fails_with(self, error: Exception) -> asyncio.Task[None]:
        async def fail() -> None:
            await self.delivery.begin(TASK)
            raise error

        return self.work(fail)

    @property
    def said(self) -> list[State]:
        return [event.state for event in self.log.events("t1")]


@pytest.fixture
async def log() -> InMemoryTaskLog:
    log = InMemoryTaskLog()
    await log.push(QUEUED, METADATA)
    return log


async def test_what_does_not_run_yet_is_given_back_at_once(log: InMemoryTaskLog) -> None:
    # Given a delivery that has just come
    hand, begun = Hand(log), asyncio.Event()

    async def handle() -> None:
        begun.set()
        await asyncio.Event().wait()

    working = hand.work(handle)
    await begun.wait()
    # When its worker goes no further, then any other may have it
    working.cancel()
    await working
    assert hand.story.done == ["nak"]


async def test_what_did_not_run_within_a_heartbeat_is_taken_from_nobody(log: InMemoryTaskLog) -> None:
    # Given a delivery that has not said `running` for longer than a heartbeat: another worker may have it by now
    hand = Hand(log, heartbeat=0.01)
    working = hand.work(asyncio.Event().wait)
    await beats_on(hand.message)
    # When its worker goes no further
    working.cancel()
    await working
    # Then the message is left alone
    assert hand.story.done == []


async def test_nobody_says_or_settles_anything_behind_a_word_that_may_be_stored_or_not(
    log: InMemoryTaskLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a delivery whose `running` is not acknowledged
    monkeypatch.setattr("app.execution.attempt.LAST_APPEND_TIMEOUT_S", 0.01)
    log.progress_stream.stored.clear()
    log.progress_stream.acknowledges.clear()
    hand = Hand(log)

    async def handle() -> None:
        await hand.delivery.begin(TASK)

    working = hand.work(handle)
    await log.progress_stream.stored.wait()
    # When its worker goes no further
    working.cancel()
    await working
    # Then that was the last word, and the message is left alone
    assert hand.said == [State.QUEUED, State.RUNNING]
    assert hand.story.done == []


async def test_what_fails_first_has_run(log: InMemoryTaskLog) -> None:
    # Given a task that waits
    hand = Hand(log)
    # When it fails
    await hand.fails_with(PermanentError(ErrorCode.AUDIO_NOT_FOUND, "There is none."))
    # Then its log says both
    assert hand.said == [State.QUEUED, State.RUNNING, State.FAILED]
    assert hand.story.done == ["letter", "ack"]


async def test_a_timeout_of_somebody_elses_is_not_the_attempts(log: InMemoryTaskLog) -> None:
    # Given an attempt with time left, when something in it runs out of time that nobody foresaw
    hand = Hand(log)
    await hand.fails_with(TimeoutError())
    assert hand.said[-1] is State.RETRYING
    # Then nobody is told to raise TASK_TIMEOUT
    error = log.events("t1")[-1].error
    assert error is not None
    assert error.code is ErrorCode.INTERNAL


async def test_who_goes_before_it_knows_whether_a_task_still_runs_elsewhere_says_nothing(log: InMemoryTaskLog) -> None:
    # Given a task that another worker runs, or did before an outage that is just over
    await log.push(QUEUED.model_copy(update={"state": State.RUNNING, "sequence": 2}), METADATA)
    hand, begun = Hand(log), asyncio.Event()
    hand.connection.restored()

    async def handle() -> None:
        begun.set()
        await hand.delivery.begin(TASK)

    working = hand.work(handle)
    await begun.wait()
    # When the worker that it was delivered to ends
    working.cancel()
    await working
    # Then nothing is taken from the one that runs it
    assert hand.said == [State.QUEUED, State.RUNNING]
    assert hand.story.done == ["nak"]


def after_an_outage() -> ConnectionMonitor:
    connection = ConnectionMonitor()
    connection.restored()
    return connection


def at_the_beginning() -> ConnectionMonitor:
    connection = ConnectionMonitor()
    connection.made()
    return connection


@pytest.mark.parametrize(
    ("said_ago", "connection"),
    [
        pytest.param(0, ConnectionMonitor, id="heard of a moment ago"),
        pytest.param(60, after_an_outage, id="unheard of in an outage"),
        pytest.param(60, at_the_beginning, id="unheard of before this worker began"),
    ],
)
async def test_a_task_that_may_run_elsewhere_is_left_to_whoever_runs_it(
    log: InMemoryTaskLog,
    monkeypatch: pytest.MonkeyPatch,
    said_ago: float,
    connection: Callable[[], ConnectionMonitor],
) -> None:
    # Given a task that runs, whose message was delivered again though its worker may be there
    monkeypatch.setattr("app.execution.task_run.LOOK_EVERY_S", 0.01)
    then = datetime.now(UTC) - timedelta(seconds=said_ago)
    running = QUEUED.model_copy(update={"state": State.RUNNING, "sequence": 2, "time": then})
    await log.push(running, METADATA)
    hand, looks, last = Hand(log, connection=connection()), 0, log.last

    async def look(task_id: str) -> Record | None:
        nonlocal looks
        looks += 1
        return await last(task_id)

    async def looked() -> bool:
        return looks > 5

    async def handle() -> None:
        await hand.delivery.begin(TASK)

    monkeypatch.setattr(log, "last", look)
    working = hand.work(handle)
    await eventually(looked)
    # When that one is heard again
    await log.push(running.model_copy(update={"sequence": 3}), METADATA)
    # Then this worker lets go of the message
    await working
    assert hand.said == [State.QUEUED, State.RUNNING, State.RUNNING]
    assert hand.story.done == []
