"""Handles `workers.info`: reports the version, the model and the health of a worker."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from natscribe.schemas.workers import Problem, WorkerInfo

from app.engines.messages import Loaded
from app.runtime.cancellation import cancel_all
from app.runtime.errors import PermanentError, TransientError
from app.settings import VERSION
from app.storage.recordings.recording import RecordingStore
from app.tasks.projection.projection import RedisProjection

HEALTH_WITHIN_S: Final = 1.0  # a client collects replies for 2 s
SHARED_FOR_S: Final = 5.0  # how long all requests share the outcome of a check


class _SharedCheck:
    """Checks whether Redis or the store of recordings answers, at most every SHARED_FOR_S seconds.

    Requests in between get the outcome of the latest check, and only one check runs at a time. The store may be a
    folder: if it is unreachable, the thread that checks it hangs and cannot be cancelled, so a check for each request
    could occupy all threads.
    """

    def __init__(self, check: Callable[[], Coroutine[None, None, bool]]) -> None:
        self._check = check
        self._running: asyncio.Task[bool] | None = None
        self._started_at = 0.0

    async def is_reachable(self) -> bool:
        """Return whether Redis or the store answers; False if this takes longer than HEALTH_WITHIN_S seconds."""
        now = asyncio.get_running_loop().time()
        if self._running is None or (self._running.done() and now - self._started_at >= SHARED_FOR_S):
            self._running, self._started_at = asyncio.create_task(self._check()), now
        running = self._running
        done, _ = await asyncio.wait([running], timeout=HEALTH_WITHIN_S)
        return bool(done) and running.result()

    async def close(self) -> None:
        """Cancel the running check, if there is one."""
        if self._running is not None:
            await cancel_all([self._running])


@dataclass
class WorkerReport:
    """Reports the version, model and health of this worker, and whether Redis and the store of recordings answer it."""

    name: str
    audio_store: str  # the address of `recordings`
    _: KW_ONLY
    problems: Callable[[], list[Problem]]  # returns the problems of the streams of the service
    model: Callable[[], Loaded | None]  # returns the model with which tasks run; None: it cannot be loaded
    offered: Callable[[], set[str]]  # returns the names of models that tasks may request; reads a folder
    recordings: RecordingStore
    projection: RedisProjection
    idle: Callable[[], bool]  # returns whether a task would start at once

    def __post_init__(self) -> None:
        self._redis = _SharedCheck(self.projection.reachable)
        self._store = _SharedCheck(self._store_replies)
        self._started_at = datetime.now(UTC)

    async def read(self) -> WorkerInfo:
        """Return the version, the model and the health of this worker."""
        redis, store = await asyncio.gather(self._redis.is_reachable(), self._store.is_reachable())
        loaded = self.model()
        return WorkerInfo(
            worker=self.name,
            version=VERSION,
            started_at=self._started_at,
            idle=self.idle(),
            model=loaded.model if loaded is not None else None,
            models=await self._offered(),
            engine=loaded.fingerprint if loaded is not None else "",
            audio_store=self.audio_store,
            audio_store_answers=store,
            redis_answers=redis,
            problems=self.problems(),
        )

    async def close(self) -> None:
        """Cancel running checks of Redis and of the store of recordings."""
        await asyncio.gather(self._redis.close(), self._store.close())

    async def _offered(self) -> list[str] | None:
        """Return the names of models that tasks may request; None if their folder is not read in time."""
        with suppress(TimeoutError, OSError):
            return sorted(await asyncio.wait_for(asyncio.to_thread(self.offered), HEALTH_WITHIN_S))
        return None

    async def _store_replies(self) -> bool:
        """Return whether the store of recordings replies to a request for a recording that does not exist."""
        try:
            async with self.recordings.fetch(uuid4().hex):
                return True
        except PermanentError:
            return True
        except TransientError:
            return False
