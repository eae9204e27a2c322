"""The engine lock: the deliveries of one worker use its engine one after the other."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class EngineLock:
    """Held by the delivery whose recording the engine hears; who it is can be seen."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self.holder: asyncio.Task[object] | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Wait for the engine, and have it while the block runs."""
        async with self._lock:
            self.holder = asyncio.current_task()
            try:
                yield
            finally:
                self.holder = None
