"""Opening: `queued` is said of many tasks as soon as of one."""

import asyncio

import pytest

from app.log.task_log import TaskLog
from app.main import Service
from app.queue import opening
from handlers.errors import PassingError
from schemas.errors import ErrorCode
from schemas.progress import State
from schemas.wire import Kind, Priority
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher

MANY = 2 * opening.AT_ONCE + 1


@pytest.fixture
async def busy(publisher: Publisher, worker: Service, engine: FakeEngine) -> Service:
    """A worker that has no time for any further task."""
    engine.may_go_on.clear()
    await publisher.publish("busy", priority=Priority.HIGH)
    await publisher.until("busy", State.RUNNING)
    return worker


async def test_each_of_a_burst_is_told_its_place(publisher: Publisher, busy: Service) -> None:
    # Given a busy worker, when more tasks are published than it opens at once
    for number in range(MANY):
        await publisher.publish(f"t{number}")
    first_events = [(await publisher.until(f"t{number}", State.QUEUED))[0] for number in range(MANY)]
    # Then each hears where it stands, in the order of publication
    assert [event.sequence for event in first_events] == [1] * MANY
    assert [event.queue_position for event in first_events] == list(range(1, MANY + 1))


async def test_tasks_of_all_lanes_are_opened_together(publisher: Publisher, busy: Service) -> None:
    # When tasks of all lanes are stored in the same moment, and one of them twice
    lanes = [(kind, priority) for kind in Kind for priority in Priority]
    await asyncio.gather(
        *(publisher.publish(f"{kind}-{priority}", kind=kind, priority=priority) for kind, priority in lanes),
        publisher.publish("transcription-low", priority=Priority.HIGH),
    )
    # Then each log is opened once
    for kind, priority in lanes:
        (queued,) = await publisher.until(f"{kind}-{priority}", State.QUEUED)
        assert (queued.kind, queued.sequence) == (kind, 1)


async def test_what_could_not_be_opened_is_opened_by_who_picks_it_up(
    publisher: Publisher, busy: Service, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a stream that does not answer for a moment
    asked = asyncio.Event()

    async def unanswered(_: TaskLog, __: object) -> None:
        asked.set()
        raise PassingError(ErrorCode.INTERNAL, "JetStream does not answer.")

    with monkeypatch.context() as away:
        away.setattr(TaskLog, "last_of", unanswered)
        await publisher.publish("t1")
        await asked.wait()
    # When it answers again, then later tasks are opened
    await publisher.publish("t2")
    await publisher.until("t2", State.QUEUED)
    # And the one that nobody opened is done all the same
    engine.may_go_on.set()
    states = [event.state for event in await publisher.until("t1", State.COMPLETED)]
    assert (states[0], states[-1]) == (State.QUEUED, State.COMPLETED)


async def test_a_task_is_picked_up_where_it_was_opened_without_reading_its_log(
    publisher: Publisher, busy: Service, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a task that this worker has said `queued` of
    await publisher.publish("t1")
    await publisher.until("t1", State.QUEUED)
    # When its log grows meanwhile: another worker began with it, and gave it back
    read: list[str] = []
    last = TaskLog.last

    async def counted(self: TaskLog, task_id: str) -> object:
        read.append(task_id)
        return await last(self, task_id)

    monkeypatch.setattr(TaskLog, "last", counted)
    engine.may_go_on.set()
    events = await publisher.until("t1", State.COMPLETED)
    # Then it reads the log before the segments and the result only
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert read.count("t1") == 1 + engine.windows
