"""The connection monitor: notes when the connection to NATS is made, lost, restored and closed."""

import asyncio
import math
import os
import time

import structlog

log = structlog.get_logger()


class ConnectionMonitor:
    """Notes changes of the connection, and ends the process if the connection is closed while the worker runs."""

    def __init__(self) -> None:
        self.ending = False  # whether the worker is shutting down
        self._made_at = -math.inf
        self._restored_at = -math.inf
        self._restored = asyncio.Event()

    def made(self) -> None:
        """Note that the worker is connected for the first time."""
        self._made_at = time.monotonic()

    def expect_close(self) -> None:
        """Treat the end of the connection as normal from now on, because the worker is shutting down."""
        self.ending = True

    def restored(self) -> None:
        """Note that NATS answers again after a lost connection or a silent server."""
        self._restored_at = time.monotonic()
        self._restored.set()

    async def wait_until_restored(self) -> None:
        """Wait until an outage ends; return at once if an outage has ended since the last call of this method."""
        await self._restored.wait()
        self._restored.clear()

    @property
    def seconds_since_made(self) -> float:
        """Seconds since the worker first connected; the worker cannot know of an earlier outage."""
        return time.monotonic() - self._made_at

    @property
    def seconds_since_restored(self) -> float:
        """Seconds since the last outage ended; infinite if no outage has ended."""
        return time.monotonic() - self._restored_at

    async def on_disconnected(self) -> None:
        """Log that the connection is lost."""
        if not self.ending:
            log.warning("nats_disconnected")

    async def on_reconnected(self) -> None:
        """Note and log that the connection is restored."""
        self.restored()
        log.info("nats_reconnected")

    async def on_closed(self) -> None:
        """End the process at once.

        nats-py never reopens a closed connection, and the pull loops of FastStream would then block the event loop.
        """
        if not self.ending:
            log.critical("nats_closed")
            os._exit(1)
