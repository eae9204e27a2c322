"""Outages: when NATS came back to this worker."""

import asyncio
import math
import time


class Outages:
    """Notes when a connection that was lost, or a server that was silent, is there again."""

    def __init__(self) -> None:
        self._began_at = -math.inf
        self._ended_at = -math.inf
        self._another = asyncio.Event()

    async def another(self) -> None:
        """Wait for the end of an outage since this was asked last, by the one who asks."""
        await self._another.wait()
        self._another.clear()

    def begin(self) -> None:
        """Note that the worker is connected for the first time."""
        self._began_at = time.monotonic()

    def end(self) -> None:
        """Note that the connection is there again."""
        self._ended_at = time.monotonic()
        self._another.set()

    @property
    def over_for(self) -> float:
        """Seconds since the last one; infinite where there was none."""
        return time.monotonic() - self._ended_at

    @property
    def watched_for(self) -> float:
        """Seconds since the worker was connected: of an outage before that it knows nothing."""
        return time.monotonic() - self._began_at
