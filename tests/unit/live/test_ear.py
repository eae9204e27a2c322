"""The ear: jobs of several streams in one process."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.live import LiveAudio

from app.engines.messages import Forget, Hear, Heard, Job, Reply
from app.errors import TransientError
from app.live.ear import Ear
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually

JOB = Hear(stream="t1 1", audio=LiveAudio(), first=True, start_at=[0.0])


class SlowEngine(FakeEngine):
    """Hears nothing before it may, and notes which jobs were stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[Job] = []
        self.stopped_jobs: list[Job] = []

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        self.begun.append(job)
        try:
            await self.may_go_on.wait()
        except BaseException:
            self.stopped_jobs.append(job)
            raise
        yield Heard(seconds=0, windows=[], open=[], settled=[0])


async def test_a_stream_that_ends_in_the_middle_of_a_job_does_not_stop_the_process() -> None:
    # Given a job that takes a while
    engine = SlowEngine()
    engine.may_go_on.clear()
    ear = Ear(engine)
    waiting = asyncio.create_task(ear.hear(JOB))
    await eventually(lambda: begun(engine, 1))
    # When its task is cancelled
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ear.forget(JOB.stream)
    engine.may_go_on.set()
    # Then the job ends by itself, and its stream is forgotten
    await eventually(lambda: begun(engine, 2))
    assert engine.begun[-1] == Forget(stream=JOB.stream)
    assert engine.stopped_jobs == []
    await ear.close()


async def begun(engine: SlowEngine, count: int) -> bool:
    return len(engine.begun) == count


async def test_a_process_that_hangs_is_stopped() -> None:
    engine = SlowEngine()
    engine.may_go_on.clear()
    with pytest.raises(TransientError) as caught:
        await Ear(engine, longest_job_s=0.05).hear(JOB)
    assert caught.value.detail.code is ErrorCode.ENGINE_FAILED
    assert engine.stopped_jobs == [JOB]


async def test_an_error_that_nobody_waits_for_is_no_trouble() -> None:
    engine = FakeEngine()
    engine.deaf = [TransientError(ErrorCode.ENGINE_FAILED, "dead")]
    ear = Ear(engine)
    waiting = asyncio.create_task(ear.hear(JOB))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await ear.close()
