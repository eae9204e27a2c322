"""A worker with a scripted engine: `faststream run tests.versions.worker:app`; the file GATE has it continue."""

import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from app.engines.messages import Job, Reply, WindowFound
from app.main import Worker
from app.runtime.telemetry.tracing import OFF
from app.settings import Settings
from tests.fakes.engine import FakeEngine, number_of
from tests.waiting import eventually

GATE = Path(os.environ["GATE"])
WAITS_S = 600.0


class GatedEngine(FakeEngine):
    """Finds the first window of a recording at once, and the others as soon as GATE exists."""

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        async with aclosing(super().run(job)) as replies:
            async for reply in replies:
                if isinstance(reply, WindowFound) and number_of(reply.window):
                    await eventually(GATE.exists, within=WAITS_S)
                yield reply


app = Worker(Settings(), GatedEngine(), OFF).app
