"""The watch: what is missing under a running service is made anew, what waited too long is ended."""

import asyncio

import structlog
from nats.js import JetStreamContext

from app.jetstream import provisioning, streams
from app.operations.expiry import Expiry
from app.operations.figures import QueueFigures
from app.operations.vitals import Vitals
from app.queue.priorities import QueueReader
from app.redis_store.projection import RedisProjection
from app.settings import Settings
from app.supervision import run_forever
from app.telemetry.metrics import Meter

LOOK_EVERY = 5.0  # seconds
MEASURE_EVERY = 15.0  # seconds
SWEEP_EVERY = 3600.0  # seconds

log = structlog.get_logger()


class Maintenance:
    """Does what has to be done now and then, whatever the consumer is busy with."""

    def __init__(  # noqa: PLR0913 -- it looks after all of them
        self,
        js: JetStreamContext,
        settings: Settings,
        *,
        queues: QueueReader,
        projection: RedisProjection,
        expiry: Expiry,
        meter: Meter,
        vitals: Vitals,
    ) -> None:
        self._js = js
        self._vitals = vitals
        self._figures = QueueFigures(js, streams.names(settings), queues)
        self._settings = settings
        self._projection = projection
        self._expiry = expiry
        self._meter = meter

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.gather(
            run_forever("provisioning", self.mend, every_s=LOOK_EVERY),
            run_forever("projection_catch_up", self.catch_up, every_s=LOOK_EVERY),
            run_forever("queue_metrics", self.measure, every_s=MEASURE_EVERY),
            run_forever("worker_metrics", self._vitals.measure, every_s=LOOK_EVERY),
            run_forever("expiry", self._expiry.sweep, every_s=SWEEP_EVERY),
        )

    async def mend(self) -> None:
        """Make anew what somebody has deleted: nothing else tells a pulling client (faststream#2632)."""
        gone = await provisioning.missing(self._js, self._settings)
        if gone:
            log.error("streams_or_consumers_missing", names=gone)
            await provisioning.provision(self._js, self._settings)
        self._projection.made_at = await provisioning.events_made_at(self._js, self._settings)

    async def catch_up(self) -> None:
        """Show everything again where Redis is new or has lost its data."""
        if await self._projection.is_empty():
            log.warning("projection_begins_anew")
            await provisioning.project_anew(self._js, self._settings)
            await self._projection.mark()

    async def measure(self) -> None:
        """Say how the queue stands."""
        self._meter.queue(await self._figures.queues(), await self._figures.letters())
