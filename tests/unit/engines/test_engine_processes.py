"""Loading the models of a worker."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import nullcontext

import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.messages import Job, Load, Loaded, LoadVad, Reply, VadLoaded
from app.engines.process.engine_processes import EngineProcesses
from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.fakes.engine import MODEL


class LoadingEngine(EngineProcesses):
    """Loads what is not broken, and records what it has loaded."""

    def __init__(self, broken: type[Job] | None) -> None:
        super().__init__(Settings(_env_file=None))
        self.done: list[type[Job]] = []
        self._broken = broken

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        if isinstance(job, Load | LoadVad):
            if type(job) is self._broken:
                raise PermanentError(ErrorCode.ENGINE_FAILED, "It is broken.")
            await asyncio.sleep(0.01)  # the other load fails first
            self.done.append(type(job))
            yield Loaded(model=MODEL) if isinstance(job, Load) else VadLoaded()


@pytest.mark.parametrize(("broken", "loaded"), [(None, {Load, LoadVad}), (Load, {LoadVad}), (LoadVad, {Load})])
async def test_a_model_that_cannot_be_loaded_keeps_no_other_from_being_loaded(
    broken: type[Load | LoadVad] | None, loaded: set[type[Load | LoadVad]]
) -> None:
    engine = LoadingEngine(broken)
    with pytest.raises(PermanentError, match="broken") if broken else nullcontext():
        await engine.load()
    assert set(engine.done) == loaded
