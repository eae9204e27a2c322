"""The transcript is published even if diarization fails."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from natscribe.schemas.progress import Stage, State

from app.engines.messages import Diarize, FindWindows, Job, Reply, StageAdvanced
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker

pytestmark = pytest.mark.usefixtures("crashes_end_slots")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """One attempt and a little time for it."""
    return settings.model_copy(update={"task_max_retries": 0, "task_timeout": 2.5})


@pytest.fixture(autouse=True)
def _every_stage_has_an_event(constants: Constants) -> None:
    constants(MIN_EVENT_INTERVAL_S=0.0)


class EndlessDiarization(FakeEngine):
    """Transcribes, and never finds the speakers."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if not isinstance(job, Diarize):
            async for reply in super().run(job):
                yield reply
            return
        self.jobs.append(job)
        yield StageAdvanced(stage=Stage.DIARIZING, processed_seconds=1, duration_seconds=30)
        await asyncio.Event().wait()


async def test_an_attempt_times_out_during_diarization(publisher: Publisher, start_worker: StartWorker) -> None:
    engine = EndlessDiarization()
    async with start_worker(engine):
        # Given a task whose last attempt runs out of time between text and speakers
        events = await publisher.reaching(State.COMPLETED, "t1", diarize=True)
        # Then the text is published, with the reason why it has no speakers
        result = await publisher.request("tasks.result", task_id="t1")
    assert result["text"] == "one two one two one two"
    assert result["speakers"] is None
    assert result["diarization_error"]["code"] == "timeout"
    # And the recording was diarized once, windows were not transcribed again, and the attempt counts once
    assert [isinstance(job, Diarize) for job in engine.jobs] == [False, True, False]
    last = engine.jobs[-1]
    assert isinstance(last, FindWindows)
    assert last.start_at == 30
    assert events[-1].attempt == events[-1].max_attempts == 1
