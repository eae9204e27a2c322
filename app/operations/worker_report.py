"""What a worker tells of itself when a client asks all workers."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final
from uuid import uuid4

from natscribe.schemas.workers import WorkerInfo

from app.engines.engine import Engine
from app.errors import PermanentError, TransientError
from app.recordings import Recordings
from app.redis_store.projection import RedisProjection

CHECKED_WITHIN_S: Final = 1.0  # a client waits two seconds for the replies of all workers
_VERSION: Final = version("natscribe-service")


class WorkerReport:
    """Describes one worker, and checks whether the servers answer that its tasks need."""

    def __init__(  # noqa: PLR0913 -- the report is about all of these parts
        self,
        name: str,
        audio_store: str,
        *,
        engine: Engine,
        recordings: Recordings,
        projection: RedisProjection,
        idle: Callable[[], bool],
    ) -> None:
        """`audio_store` is the address of `recordings`; `idle` returns whether a task would begin at once."""
        self._name = name
        self._audio_store = audio_store
        self._engine = engine
        self._recordings = recordings
        self._projection = projection
        self._idle = idle
        self._started_at = datetime.now(UTC)

    async def read(self) -> WorkerInfo:
        """Return what this worker is now."""
        redis, store = await asyncio.gather(_in_time(self._projection.reachable()), _in_time(self._store_answers()))
        loaded = self._engine.loaded
        return WorkerInfo(
            worker=self._name,
            version=_VERSION,
            started_at=self._started_at,
            idle=self._idle(),
            model=loaded.model if loaded is not None else None,
            engine=loaded.how if loaded is not None else "",
            audio_store=self._audio_store,
            audio_store_answers=store,
            redis_answers=redis,
        )

    async def _store_answers(self) -> bool:
        """Ask the store for a recording that does not exist: a store that works says so."""
        try:
            async with self._recordings.fetch(uuid4().hex):
                return True
        except PermanentError:
            return True
        except TransientError:
            return False


async def _in_time(check: Coroutine[None, None, bool]) -> bool:
    """Return what a check finds; False if the check takes too long."""
    try:
        return await asyncio.wait_for(check, CHECKED_WITHIN_S)
    except TimeoutError:
        return False
