"""Tasks that need no engine are worked on together; as soon as one needs it, the others are anybody's."""

from collections import Counter

import pytest
from nats.js import JetStreamContext

from app.main import Service
from schemas.progress import State
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty, results
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
    publisher: Publisher, worker: Service, engine: FakeEngine, js: JetStreamContext
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
    async with start_worker(engine):
        await burst(publisher, engine, QUICK)
        for task_id in QUICK:
            await publisher.until(task_id, State.COMPLETED)
        # When it begins with several that take long
        engine.may_go_on.clear()
        for task_id in SLOW:
            await publisher.publish(task_id)
        # Then it keeps the one that has the engine
        await eventually(lambda: _running(publisher, 1))
        (kept,) = [task_id for task_id in SLOW if await _state(publisher, task_id) == "running"]
        # And an idle worker has the others at once
        other = FakeEngine()
        async with start_worker(other):
            for task_id in set(SLOW) - {kept}:
                await publisher.until(task_id, State.COMPLETED)
        # And no engine was stopped, no attempt lost
        assert engine.stopped == 0
        engine.may_go_on.set()
        for task_id in SLOW:
            events = await publisher.until(task_id, State.COMPLETED)
            assert {event.attempt for event in events} == {1}
    assert Counter(await results(js)) == Counter(["before-quick-0", *QUICK, *SLOW])


async def _state(publisher: Publisher, task_id: str) -> str:
    return str((await publisher.ask("tasks.status", task_id=task_id))["state"])


async def _running(publisher: Publisher, count: int) -> bool:
    states = [await _state(publisher, task_id) for task_id in SLOW]
    return states.count("running") == count and states.count("queued") == len(SLOW) - count


async def _headers(js: JetStreamContext) -> list[dict[str, str]]:
    last = (await js.stream_info("transcription_progress")).state.last_seq
    events = [await js.get_msg("transcription_progress", sequence, direct=True) for sequence in range(1, last + 1)]
    return [event.headers or {} for event in events]
