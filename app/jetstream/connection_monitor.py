"""The connection monitor: when the connection to NATS was made, lost, restored and closed."""

import asyncio
import math
import os
import time

import structlog

log = structlog.get_logger()


class ConnectionMonitor:
    """Notes changes of the connection, and ends the process if the connection is closed while the worker runs."""

    def __init__(self) -> None:
        self.ending = False  # whether the worker ends
        self._made_at = -math.inf
        self._restored_at = -math.inf
        self._restored = asyncio.Event()

    def made(self) -> None:
        """Note that the worker is connected for the first time."""
        self._made_at = time.monotonic()

    def expect_close(self) -> None:
        """Treat the loss or the end of the connection as normal from now on: the worker ends."""
        self.ending = True

    def restored(self) -> None:
        """Note that NATS answers again, after the connection was lost or the server was silent."""
        self._restored_at = time.monotonic()
        self._restored.set()

    async def wait_until_restored(self) -> None:
        """Wait for the end of an outage; returns at once where one ended since the last call of this method."""
        await self._restored.wait()
        self._restored.clear()

    @property
    def seconds_since_made(self) -> float:
        """Seconds since the worker was connected: it knows of no outage before that."""
        return time.monotonic() - self._made_at

    @property
    def seconds_since_restored(self) -> float:
        """Seconds since the last outage ended; infinite where there was none."""
        return time.monotonic() - self._restored_at

    async def on_disconnected(self) -> None:
        """Log that the connection is lost."""
        if not self.ending:
            log.warning("nats_disconnected")

    async def on_reconnected(self) -> None:
        """Note and log that the connection is there again."""
        self.restored()
        log.info("nats_reconnected")

    async def on_closed(self) -> None:
        """End the process at once: nats-py opens no closed connection again, and FastStream's pull loops freeze it."""
        if not self.ending:
            log.critical("nats_closed")
            os._exit(1)
