"""The deadline of an attempt is for work that has stopped: it counts from the last progress."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from natscribe.schemas.progress import Stage, State

from app.engines.messages import Diarize, Job, Reply, StageAdvanced
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker

TIMEOUT_S = 2.0
WINDOWS = 10
WINDOW_TAKES_S = 0.25  # all of them take longer than the time-out


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Little time for an attempt, and a single one."""
    return settings.model_copy(update={"task_max_retries": 0, "task_timeout": TIMEOUT_S})


class SlowEngine(FakeEngine):
    """Takes a while for each window, or part of a diarization; from a window on it goes nowhere."""

    stands_still_from = WINDOWS

    async def transcribes(self, number: int) -> None:
        await asyncio.sleep(WINDOW_TAKES_S if number < self.stands_still_from else 60)

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        part = 0
        while isinstance(job, Diarize) and (part := part + 1) < self.windows:
            yield StageAdvanced(stage=Stage.DIARIZING, processed_seconds=part * 10.0, duration_seconds=WINDOWS * 10.0)
            await asyncio.sleep(WINDOW_TAKES_S)
        async for reply in super().run(job):
            yield reply


@pytest.mark.parametrize("diarize", [False, True])
async def test_an_attempt_that_makes_progress_does_not_time_out(
    publisher: Publisher, start_worker: StartWorker, diarize: bool
) -> None:
    # Given a recording that takes longer than the timeout, while each window or part of a diarization takes less
    async with start_worker(SlowEngine(windows=WINDOWS)):
        await publisher.publish("t1", diarize=diarize)
        # When it is processed, then its only attempt completes it
        events = await publisher.until("t1", State.COMPLETED)
        assert (await publisher.request("tasks.result", task_id="t1"))["diarization_error"] is None
    running = [event for event in events if event.state is State.RUNNING]
    assert (events[-1].time - running[0].time).total_seconds() > TIMEOUT_S
    assert events[-1].attempt == 1


@pytest.mark.parametrize("silent", [False, True])
async def test_an_attempt_without_progress_times_out(
    publisher: Publisher, start_worker: StartWorker, silent: bool
) -> None:
    # Given an engine that says nothing at all, or nothing after some windows
    engine = SlowEngine(windows=WINDOWS)
    engine.silent, engine.stands_still_from = silent, 3
    async with start_worker(engine):
        await publisher.publish("t1")
        # When it has made no progress for TASK_TIMEOUT, then the attempt ends
        events = await publisher.until("t1", State.FAILED)
    assert events[-1].error is not None
    assert (events[-1].error.code, events[-1].error.message.split(":")[0]) == (
        "timeout",
        f"The attempt made no progress for TASK_TIMEOUT ({TIMEOUT_S:g} s)",
    )
