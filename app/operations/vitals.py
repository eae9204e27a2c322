"""Vitals: what a worker has at hand, for its metrics."""

from nats.aio.client import Client

from app.engines.engine import Engine
from app.operations import memory
from app.redis_store.projection import RedisProjection
from app.telemetry.metrics import Meter


class Vitals:
    """Looks at servers, model and memory."""

    def __init__(
        self, nats: Client, projection: RedisProjection, engine: Engine, meter: Meter, *, attempt_limit: float
    ) -> None:
        self._nats = nats
        self._projection = projection
        self._engine = engine
        self._meter = meter
        self._attempt_limit = attempt_limit

    async def measure(self) -> None:
        """Tell the metrics."""
        self._meter.worker(
            nats=self._nats.is_connected,
            redis=await self._projection.reachable(),
            model=self._engine.ready,
            attempt_limit=self._attempt_limit,
        )
        self._meter.memory(worker=memory.resident(), engine=memory.resident_children(), limit=memory.limit())
