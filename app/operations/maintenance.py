"""The watch: what is missing under a running service is made anew, what waited too long is ended."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from app.errors import TransientError
from app.jetstream import provisioning, streams
from app.operations.expiry import Expiry
from app.operations.figures import QueueFigures
from app.operations.vitals import Vitals
from app.queue.priorities import QueueReader
from app.redis_store.projection import RedisProjection
from app.settings import Settings
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
        lanes: QueueReader,
        projection: RedisProjection,
        expiry: Expiry,
        meter: Meter,
        vitals: Vitals,
    ) -> None:
        self._js = js
        self._vitals = vitals
        self._figures = QueueFigures(js, streams.names(settings), lanes)
        self._settings = settings
        self._projection = projection
        self._expiry = expiry
        self._meter = meter

    async def run(self) -> None:
        """Watch until cancelled."""
        await asyncio.gather(
            _often(LOOK_EVERY, self.mend),
            _often(LOOK_EVERY, self.catch_up),
            _often(MEASURE_EVERY, self.measure),
            _often(LOOK_EVERY, self._vitals.measure),
            _often(SWEEP_EVERY, self._expiry.sweep),
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
        self._meter.queue(await self._figures.lanes(), await self._figures.letters())


async def _often(seconds: float, look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await look()
        except (NatsError, TransientError) as error:
            log.warning("watch_blind", error=str(error) or type(error).__name__)
        except Exception:
            log.exception("watch_broken")  # it goes on: nobody else watches
        await asyncio.sleep(seconds)
