"""One long recording on many workers: the result is the same, whichever worker transcribes a window."""

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Kind

from app.engines.cores import Cores
from app.engines.messages import Loaded
from app.engines.windows import Window, WindowReply, WindowRequest
from app.settings import Settings
from app.speech.window_sharing import idle_workers, sharing
from app.speech.window_sharing.sharing import engine_fingerprint, engine_hash
from tests.fakes.engine import MODEL, SAMPLES, FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.waiting import eventually

WINDOWS = 60  # more than the owner of a recording holds at once
TEXT = " ".join(["one two"] * WINDOWS)


class SlowEngine(FakeEngine):
    """Takes a moment for each window, but stops before the last one if told to; records which were requested."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__(windows=WINDOWS)
        self.seconds = seconds
        self.transcribed: list[int] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def transcribes(self, number: int) -> None:
        self.transcribed.append(number)
        await asyncio.sleep(self.seconds)
        if number == WINDOWS - 1:
            await self.may_end.wait()


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "CHECK_IDLE_EVERY_S", 0.02)
    monkeypatch.setattr(idle_workers, "FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(Cores, "free", lambda _self, _wanted: True)


async def workers(start_worker: StartWorker, engines: list[SlowEngine], stack: AsyncExitStack) -> None:
    for engine in engines:
        await stack.enter_async_context(start_worker(engine))


async def request_window(nc: Client, settings: Settings, *, within: float = 5) -> WindowReply:
    """Request the text of a window, as the owner of a recording does."""
    window = Window(regions=[(0.0, 10.0)], samples=SAMPLES)
    request = WindowRequest(window=window, model=MODEL, fingerprint=engine_fingerprint(Loaded(model=MODEL)))
    subject, body = subjects.windows(engine_hash(settings)), request.model_dump_json().encode()
    return WindowReply.model_validate_json((await nc.request(subject, body, timeout=within)).data)


async def result_of(publisher: Publisher, task_id: str) -> dict[str, Any]:
    await publisher.until(task_id, State.COMPLETED)
    return await publisher.request("tasks.result", task_id=task_id)


async def test_idle_workers_transcribe_windows_of_one_recording(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given three idle workers
    engines = [SlowEngine() for _ in range(3)]
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        # When a long recording is transcribed
        await publisher.publish("t1")
        result = await result_of(publisher, "t1")
    # Then each of them transcribed a part, and all of it is in order
    assert all(engine.transcribed for engine in engines)
    transcribed = [number for engine in engines for number in engine.transcribed]
    assert sorted(set(transcribed)) == list(range(WINDOWS))
    # And few windows were transcribed twice: those that a helper still had when the owner had nothing else to do
    assert len(transcribed) <= WINDOWS + 2 * idle_workers.WINDOWS_PER_IDLE_WORKER
    assert [part["start"] for part in result["segments"]] == [number * 10 for number in range(WINDOWS)]
    assert result["text"] == TEXT
    # And the first window, from which it is known how long a window takes, was transcribed by its owner
    (owner,) = [engine for engine in engines if engine.jobs]
    assert owner.transcribed[0] == 0


async def test_a_task_of_its_own_runs_at_once_on_a_worker_that_helps(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given a worker that helps another one with a recording, which does not end by itself
    engines = [SlowEngine() for _ in range(2)]
    for engine in engines:
        engine.may_end.clear()
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        await publisher.publish("long")
        await eventually(lambda: all(engine.transcribed for engine in engines))
        # When a task is published
        await publisher.publish("next")
        # Then it runs while the other one continues
        await publisher.until("next", State.RUNNING)
        assert (await publisher.request("tasks.status", task_id="long"))["state"] == State.RUNNING
        for engine in engines:
            engine.may_end.set()
        await publisher.until("next", State.COMPLETED)
        assert (await result_of(publisher, "long"))["text"] == TEXT
    assert all(len(engine.jobs) == 1 for engine in engines)


async def test_a_worker_that_diarizes_transcribes_no_windows_of_others(
    publisher: Publisher, start_worker: StartWorker
) -> None:
    # Given two workers, of which one diarizes
    engines = [SlowEngine() for _ in range(2)]
    for engine in engines:
        engine.may_go_on.clear()
    async with AsyncExitStack() as stack:
        await workers(start_worker, engines, stack)
        await publisher.publish("who", kind=Kind.DIARIZATION)

        async def diarizes() -> list[SlowEngine]:
            return [engine for engine in engines if engine.jobs]

        (diarizing,) = await eventually(diarizes)
        (other,) = [engine for engine in engines if engine is not diarizing]
        # When the other one transcribes a long recording, then it transcribes all of it
        other.may_go_on.set()
        await publisher.publish("long")
        assert (await result_of(publisher, "long"))["text"] == TEXT
        diarizing.may_go_on.set()
        await publisher.until("who", State.COMPLETED)
    assert len(other.transcribed) == WINDOWS
    assert diarizing.transcribed == []


async def test_a_worker_that_ends_returns_the_windows_of_others(
    start_worker: StartWorker, nc: Client, settings: Settings
) -> None:
    # Given an idle worker that transcribes a window of another worker
    engine = SlowEngine()

    async def replies() -> bool:
        with suppress(NoRespondersError):  # the worker is not subscribed yet
            return (await request_window(nc, settings)).text is not None
        return False

    async with start_worker(engine):
        await eventually(replies)
        engine.seconds, before = 60, len(engine.transcribed)
        requesting = asyncio.create_task(request_window(nc, settings, within=30))
        await eventually(lambda: len(engine.transcribed) > before)
        # When the idle worker ends
    # Then the other one has its window back
    async with asyncio.timeout(5):
        assert (await requesting).text is None
