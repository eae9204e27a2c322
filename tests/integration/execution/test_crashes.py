"""A worker that dies in any gap: another one ends the task, once."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import SegmentsEvent

from app.fleet.stream_guard.provisioning import provision
from app.main import Worker
from app.runtime.errors import PermanentError
from app.settings import Settings
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.execution.attempt import TaskAttempt
from app.tasks.execution.settlement import Settlement
from app.tasks.task_log.log import TaskLog
from tests.constants import Constants
from tests.fakes.engine import FakeEngine, segment
from tests.integration.conftest import Publisher, StartWorker, parsed, queue_is_empty
from tests.publishers import publishers
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("crashes_end_slots")

PERMANENT = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")


Moment = Callable[[Sequence[object]], bool]  # of a call's arguments


def at_once(_: Sequence[object]) -> bool:
    return True


def the_last_window(arguments: Sequence[object]) -> bool:
    """Windows whose texts are ready at the same time are one append: only its content shows which it is."""
    return any(
        isinstance(argument, SegmentsEvent) and argument.segments[-1].start == segment(2).start
        for argument in arguments
    )


class Crash(BaseException):
    """No handler of the worker can catch this: from here on it appends and settles nothing."""


def dies(
    part: object, method: str, monkeypatch: pytest.MonkeyPatch, *, before: bool = False, at: Moment = at_once
) -> None:
    """Let workers die when a method is called with these arguments, before or after it has had its effect."""
    original: Callable[..., Awaitable[object]] = getattr(part, method)

    async def deadly(*args: object, **options: object) -> object:
        now = at(args)
        if now and before:
            raise Crash
        result = await original(*args, **options)
        if now:
            raise Crash
        return result

    monkeypatch.setattr(part, method, deadly)


@pytest.fixture
async def dying(start_worker: StartWorker) -> AsyncIterator[Worker]:
    async with start_worker(FakeEngine()) as service:
        yield service


async def the_only(js: JetStreamContext, stream: str) -> int:
    return (await js.stream_info(stream)).state.messages


@pytest.mark.parametrize(
    ("part", "method", "before", "at"),
    [
        (TaskAttempt, "start", False, at_once),  # `running` is appended
        (TaskLog, "append_segments", False, at_once),  # the first window is appended
        (TaskLog, "append_segments", False, the_last_window),  # all windows are appended
        (TaskLog, "append_result", True, at_once),
        (TaskLog, "append_result", False, at_once),  # the result is stored, `completed` is not appended
        (Settlement, "settle", True, at_once),  # `completed` is appended, the message is not acknowledged
    ],
)
async def test_a_task_completes_once_whatever_its_worker_died_of(
    publisher: Publisher,
    dying: Worker,
    start_worker: StartWorker,
    settings: Settings,
    nc: Client,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    part: object,
    method: str,
    before: bool,
    at: Moment,
) -> None:
    # Given a worker that dies at this point, once
    with monkeypatch.context() as deadly:
        await publisher.reaching(State.COMPLETED, "warm-up")
        dies(part, method, deadly, before=before, at=at)
        await publisher.publish("t1")
        await eventually(lambda: not dying.container.slots.running)
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
    segments_events = [
        batch.event async for batch in TaskLog(nc, publishers(nc), settings.stream_names, "reader").segments("t1")
    ]
    assert [event.sequence for event in segments_events] == list(range(1, len(segments_events) + 1))
    assert [piece.start for event in segments_events for piece in event.segments] == [
        segment(number).start for number in range(3)
    ]


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
            await eventually(lambda: not dying.container.slots.running)
    # When another one comes
    async with start_worker(FakeEngine()):
        await eventually(lambda: queue_is_empty(js))
    # Then it has failed once, and there is one dead letter
    events = await publisher.until("t1", State.FAILED)
    assert [event.state for event in events] == [State.QUEUED, State.RUNNING, State.FAILED]
    assert await the_only(js, "transcription_dead_letters") == 1
    with pytest.raises(NotFoundError):
        await js.get_last_msg("transcription_results", "results.t1")


async def test_a_task_that_kills_its_workers_fails(
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
        dies(TaskLog, "append_segments", deadly, before=True)
        for _ in range(4):
            async with start_worker(FakeEngine()) as dying:
                await eventually(lambda: not dying.container.slots.running)
    # When a fifth one finds it
    async with start_worker(FakeEngine()):
        events = await publisher.until("t1", State.FAILED)
        await eventually(lambda: queue_is_empty(js))
    # Then it is given up after as many attempts as any other
    assert [event.attempt for event in events if event.state is State.RUNNING] == [1, 2, 3, 4]
    assert events[-1].error is not None
    assert events[-1].error.code is ErrorCode.WORKER_LOST
    assert await the_only(js, "transcription_dead_letters") == 1


async def test_two_deaths_before_the_acknowledgement_leave_one_dead_letter(
    publisher: Publisher,
    start_worker: StartWorker,
    settings: Settings,
    js: JetStreamContext,
    monkeypatch: pytest.MonkeyPatch,
    constants: Constants,
) -> None:
    # Given a task stream that soon recognizes no repetition, and two workers in a row that die after the dead letter
    constants(DUPLICATE_WINDOW_S=0.1)
    first = FakeEngine()
    first.fail_with = [PERMANENT]
    with monkeypatch.context() as deadly:
        dies(DeadLetterStore, "put", deadly)
        async with start_worker(first) as dying:
            await publisher.publish("t1")
            await eventually(lambda: not dying.container.slots.running)
        async with start_worker(FakeEngine()) as dying:
            await eventually(lambda: not dying.container.slots.running)
    # When a third one comes
    async with start_worker(FakeEngine()):
        await eventually(lambda: queue_is_empty(js))
    # Then there is one dead letter
    assert await the_only(js, "transcription_dead_letters") == 1
