"""Tasks that need no engine are worked on together; as soon as one needs it, the others are anybody's."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
from nats.js import JetStreamContext

from app.delivery.dead_letters import DeadLetterBox
from app.log.entry import Facts
from app.log.results import ResultStore
from app.main import Worker
from handlers.errors import PermanentError
from handlers.ports import Result
from schemas.errors import ErrorCode
from schemas.progress import State
from schemas.wire import Kind
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty, results
from tests.integration.test_metrics import TRANSCRIPTION, sample
from tests.waiting import eventually

QUICK = [f"quick-{number}" for number in range(60)]
SLOW = [f"slow-{number}" for number in range(6)]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.queue.deliveries.QUICKLY", 1.0)  # the machine may have other work


async def burst(publisher: Publisher, engine: FakeEngine, task_ids: list[str]) -> None:
    """Publish tasks that all wait when the worker comes to the first of them."""
    engine.may_go_on.clear()
    await publisher.publish(f"before-{task_ids[0]}")
    await publisher.until(f"before-{task_ids[0]}", State.RUNNING)
    for task_id in task_ids:
        await publisher.publish(task_id)
    engine.may_go_on.set()


async def test_what_is_quick_is_done_together_and_once_each(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given many tasks, each of which is done in milliseconds, when a worker comes to them
    await burst(publisher, engine, QUICK)
    for task_id in QUICK:
        await publisher.until(task_id, State.COMPLETED)
    # Then each has its three events and one result
    for task_id in QUICK:
        states = [event.state for event in await publisher.until(task_id, State.COMPLETED)]
        assert states == [State.QUEUED, State.RUNNING, State.COMPLETED]
    assert Counter(await results(js)) == Counter(["before-quick-0", *QUICK])
    await eventually(lambda: queue_is_empty(js))
    # And some of them were stored in one go
    batches = Counter([headers.get("Nats-Batch-Id") for headers in await _headers(js)])
    del batches[None]
    assert max(batches.values()) > 1


async def test_what_turns_out_to_be_long_is_given_back_but_for_one(
    publisher: Publisher, start_worker: StartWorker, engine: FakeEngine, js: JetStreamContext
) -> None:
    # Given a worker that has had quick tasks
    async with start_worker(engine) as worker:
        await burst(publisher, engine, QUICK)
        for task_id in QUICK:
            await publisher.until(task_id, State.COMPLETED)
        begun = _watched(worker)
        # When it begins with several that take long
        engine.jobs.clear()
        engine.may_go_on.clear()
        await asyncio.gather(*(publisher.publish(task_id) for task_id in SLOW))
        await eventually(lambda: _none_waits_for_this_worker(worker, begun))
        # Then it keeps one
        kept = [task_id for task_id in SLOW if await _state(publisher, task_id) == "running"]
        assert len(kept) == len(engine.jobs) == 1
        # And an idle worker has the others
        async with start_worker(FakeEngine()):
            for task_id in set(SLOW) - set(kept):
                events = await publisher.until(task_id, State.COMPLETED)
                # Of which nobody has ever said that they run, but the one who had the time
                assert [event.state for event in events] == [State.QUEUED, State.RUNNING, State.COMPLETED]
        # And no engine was stopped, no attempt lost
        assert engine.stopped == 0
        engine.may_go_on.set()
        events = await publisher.until(kept[0], State.COMPLETED)
        assert {event.attempt for event in events} == {1}
    assert Counter(await results(js)) == Counter(["before-quick-0", *QUICK, *SLOW])


async def test_tasks_that_fail_together_are_settled(
    publisher: Publisher, worker: Worker, engine: FakeEngine, js: JetStreamContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that takes letters slowly
    put = DeadLetterBox.put

    async def slowly(*args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(1.5)  # longer than what is quick
        await put(*args, **kwargs)

    monkeypatch.setattr(DeadLetterBox, "put", slowly)
    await burst(publisher, engine, QUICK)
    for task_id in QUICK:
        await publisher.until(task_id, State.COMPLETED)
    redelivered = sample(worker, "task_redeliveries_total", TRANSCRIPTION)
    # When tasks that begin together fail at once
    engine.fail_with = [PermanentError(ErrorCode.AUDIO_UNREADABLE, "This is no recording.")] * len(SLOW)
    await asyncio.gather(*(publisher.publish(task_id) for task_id in SLOW))
    # Then each says that it was running, and failed, and its message is gone before anybody could wait for it
    for task_id in SLOW:
        states = [event.state for event in await publisher.until(task_id, State.FAILED)]
        assert states == [State.QUEUED, State.RUNNING, State.FAILED]
    await eventually(lambda: queue_is_empty(js))
    assert sample(worker, "task_redeliveries_total", TRANSCRIPTION) == redelivered


async def test_diarizations_do_not_wait_for_each_others_results(
    publisher: Publisher, worker: Worker, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a disk that hangs
    asked, may_be_stored, publish = list[str](), asyncio.Event(), ResultStore.publish

    async def slowly(self: ResultStore, result: Result, facts: Facts) -> None:
        asked.append(result.task_id)
        await may_be_stored.wait()
        await publish(self, result, facts)

    monkeypatch.setattr(ResultStore, "publish", slowly)
    # When there are two diarizations, then the second has the engine while the first is written down
    for task_id in ("d1", "d2"):
        await publisher.publish(task_id, kind=Kind.DIARIZATION)
    await eventually(lambda: _is(asked, ["d1", "d2"]))
    may_be_stored.set()
    for task_id in ("d1", "d2"):
        await publisher.until(task_id, State.COMPLETED)


def _watched(worker: Worker) -> list[int]:
    """How many deliveries begin together, from now on."""
    begun: list[int] = []
    work = worker.slot.deliveries.work

    async def counted(deliveries: Mapping[str, Coroutine[Any, Any, object]]) -> None:
        begun.append(len(deliveries))
        await work(deliveries)

    worker.slot.deliveries.work = counted  # type: ignore[method-assign]  # to see what it does
    return begun


async def _none_waits_for_this_worker(worker: Worker, begun: list[int]) -> bool:
    """Whether it has begun with several, and has no more than one in its hands."""
    return max(begun, default=0) > 1 and sample(worker, "task_in_progress", TRANSCRIPTION) == 1


async def _is(found: list[str], expected: list[str]) -> bool:
    return found == expected


async def _state(publisher: Publisher, task_id: str) -> str:
    return str((await publisher.ask("tasks.status", task_id=task_id))["state"])


async def _headers(js: JetStreamContext) -> list[dict[str, str]]:
    last = (await js.stream_info("transcription_progress")).state.last_seq
    events = [await js.get_msg("transcription_progress", sequence, direct=True) for sequence in range(1, last + 1)]
    return [event.headers or {} for event in events]
