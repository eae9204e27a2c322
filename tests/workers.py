"""A whole worker in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from opentelemetry.trace import TracerProvider

from app.engines.engine import Engine
from app.main import Worker
from app.runtime.telemetry.tracing import OFF
from app.settings import Settings
from tests.waiting import eventually


@asynccontextmanager
async def working(settings: Settings, engine: Engine, traces: TracerProvider = OFF) -> AsyncIterator[Worker]:
    """A worker that takes tasks until the body ends."""
    service = Worker(settings, engine, traces)
    started, stop = asyncio.Event(), asyncio.Event()

    @service.app.after_startup
    async def note_start() -> None:
        started.set()

    async def live() -> None:
        async with service.app.start_lifespan_context():
            await stop.wait()

    life = asyncio.create_task(live())  # a task of its own: the context must be left in the task that entered it
    await eventually(lambda: started.is_set() or life.done())
    try:
        yield service
    finally:
        stop.set()
        await life
