"""A worker that dies in any gap: another one ends the task, once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State

from app.dead_letters.store import DeadLetterStore
from app.errors import PermanentError
from app.execution.attempt import TaskAttempt
from app.execution.settlement import Settlement
from app.jetstream.provisioning import provision
from app.main import Worker
from app.settings import Settings
from app.task_log.log import TaskLog
from tests.fakes.engine import FakeEngine, segment
from tests.integration.conftest import Publisher, StartWorker, parsed, queue_is_empty
from tests.waiting import eventually

PERMANENT = PermanentError(ErrorCode.AUDIO_UNREADABLE, "No sound.")


class Crash(BaseException):
    """No handler of the worker can catch this: from here on it appends and settles nothing."""


def dies(part: type, method: str, monkeypatch: pytest.MonkeyPatch, *, before: bool = False, call: int = 1) -> None:
    """Let workers die at the nth call of a method (0: at each), before or after it has had its effect."""
    original: Callable[..., Awaitable[object]] = getattr(part, method)
    calls = 0

    async def deadly(*args: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        now = call in {0, calls}
        if now and before:
            raise Crash
        found = await original(*args, **options)
        if now:
            raise Crash
        return found

    monkeypatch.setattr(part, method, deadly)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A message of a dead worker is soon delivered to another one."""
    return settings.model_copy(update={"task_ack_wait": 1, "task_heartbeat": 0.25})


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.main.end_process", lambda: None)


@pytest.fixture
async def dying(start_worker: StartWorker) -> AsyncIterator[Worker]:
    async with start_worker(FakeEngine()) as service:
        yield service


async def dead(service: Worker) -> bool:
    return not service.container.consumer.running


async def begun(engine: FakeEngine) -> bool:
    return len(engine.jobs) == 1


async def the_only(js: JetStreamContext, stream: str) -> int:
    return (await js.stream_info(stream)).state.messages


@pytest.mark.parametrize(
    ("part", "method", "before", "call"),
    [
        (TaskAttempt, "start", False, 1),  # `running` is appended
        (TaskLog, "append_segments", False, 1),  # the first window is appended
        (TaskLog, "append_segments", False, 3),  # all windows are appended
        (TaskLog, "append_result", True, 1),
        (TaskLog, "append_result", False, 1),  # the result is stored, `completed` is not appended
        (Settlement, "completed", True, 1),  # `completed` is appended, the message is not acknowledged
    ],
)
async def test_a_task_completes_once_whatever_its_worker_died_of(
    publisher: Publisher,
    dying: Worker,
    start_worker: StartWorker,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    part: type,
    method: str,
    before: bool,
    call: int,
) -> None:
    # Given a worker that dies at this place, and never again
    with monkeypatch.context() as deadly:
        await publisher.publish("warm-up")
        await publisher.until("warm-up", State.COMPLETED)
        dies(part, method, deadly, before=before, call=call)
        await publisher.publish("t1")
        await eventually(lambda: dead(dying))
    # When another one comes
    second = FakeEngine()
    async with start_worker(second):
        events = await publisher.until("t1", State.COMPLETED)
        await eventually(lambda: queue_is_empty(js))
    # Then there is one end and one result, without gaps
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert [event.state for event in events].count(State.COMPLETED) == 1
    assert await the_only(js, "transcription_results") == 2  # the warm-up's and this one
    result = parsed(await js.get_last_msg("transcription_results", "results.t1"))
    assert result["text"] == "one two one two one two"
    # And no window was transcribed again that had been appended
    heard = [parsed(await js.get_msg("transcription_segments", seq)) for seq in range(4, 7)]
    assert [event["sequence"] for event in heard] == [1, 2, 3]
    assert [event["segments"][0]["start"] for event in heard] == [segment(number).start for number in range(3)]


@pytest.mark.parametrize("before", [True, False])
async def test_a_task_fails_once_and_leaves_one_dead_letter(
    publisher: Publisher,
    start_worker: StartWorker,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
) -> None:
    # Given a worker that dies between the failure and its dead letter, or between that and the acknowledgement
    first = FakeEngine()
    first.fail_with = [PERMANENT]
    async with start_worker(first) as dying:
        with monkeypatch.context() as deadly:
            dies(DeadLetterStore, "put", deadly, before=before)
            await publisher.publish("t1")
            await eventually(lambda: dead(dying))
    # When another one comes
    async with start_worker(FakeEngine()):
        await eventually(lambda: queue_is_empty(js))
    # Then it has failed once, and there is one dead letter
    events = await publisher.until("t1", State.FAILED)
    assert [event.state for event in events] == [State.QUEUED, State.RUNNING, State.FAILED]
    assert await the_only(js, "transcription_dead_letters") == 1
    with pytest.raises(NotFoundError):
        await js.get_last_msg("transcription_results", "results.t1")


async def test_a_task_that_kills_its_workers_is_given_up(
    publisher: Publisher,
    start_worker: StartWorker,
    settings: Settings,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a task that kills every worker that touches it
    with monkeypatch.context() as deadly:
        await provision(js, settings)
        await publisher.publish("t1")
        dies(TaskLog, "append_segments", deadly, before=True, call=0)
        for _ in range(4):
            async with start_worker(FakeEngine()) as dying:
                await eventually(partial(dead, dying))
    # When a fifth one finds it
    async with start_worker(FakeEngine()):
        events = await publisher.until("t1", State.FAILED)
        await eventually(lambda: queue_is_empty(js))
    # Then it is given up after as many attempts as any other
    assert [event.attempt for event in events if event.state is State.RUNNING] == [1, 2, 3, 4]
    assert events[-1].error is not None
    assert events[-1].error.code is ErrorCode.WORKER_LOST
    assert await the_only(js, "transcription_dead_letters") == 1


async def test_four_graceful_stops_harm_nobody(
    publisher: Publisher, start_worker: StartWorker, settings: Settings, js: JetStreamContext
) -> None:
    # Given a task on which four workers in a row are stopped
    await provision(js, settings)
    await publisher.publish("t1")
    for _ in range(4):
        engine = FakeEngine()
        engine.may_go_on.clear()
        async with start_worker(engine):
            await eventually(partial(begun, engine))
    # When a fifth one may work
    async with start_worker(FakeEngine()):
        events = await publisher.until("t1", State.COMPLETED)
    # Then it is still the first attempt
    assert {event.attempt for event in events} == {1}


async def test_two_deaths_before_the_acknowledgement_leave_one_dead_letter(
    publisher: Publisher,
    start_worker: StartWorker,
    settings: Settings,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given a task stream that soon recognizes no repetition, and two workers in a row that die after the dead letter
    monkeypatch.setattr("natscribe.jetstream.streams.DUPLICATE_WINDOW_S", 0.1)
    first = FakeEngine()
    first.fail_with = [PERMANENT]
    with monkeypatch.context() as deadly:
        dies(DeadLetterStore, "put", deadly, call=0)
        async with start_worker(first) as dying:
            await publisher.publish("t1")
            await eventually(lambda: dead(dying))
        async with start_worker(FakeEngine()) as dying:
            await eventually(lambda: dead(dying))
    # When a third one comes
    async with start_worker(FakeEngine()):
        await eventually(lambda: queue_is_empty(js))
    # Then there is one dead letter
    assert await the_only(js, "transcription_dead_letters") == 1
