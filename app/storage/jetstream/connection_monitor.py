"""The connection monitor: records and logs when the connection to NATS is lost or restored, and what NATS refuses."""

import asyncio
import math
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from faststream.nats import NatsBroker
from nats.errors import SlowConsumerError, StaleConnectionError, UnexpectedEOF
from nats.protocol.parser import AUTHORIZATION_VIOLATION, PERMISSIONS_ERR
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.subjects import is_inbox

from app.runtime.errors import describe

REFUSALS: Final = (PERMISSIONS_ERR, AUTHORIZATION_VIOLATION, "authentication expired", "authentication revoked")
DROPS_LOGGED_EVERY_S: Final = 10.0  # there may be thousands in a second
BUSY: Final = ErrorDetail(code=ErrorCode.INTERNAL, message="Too many requests wait: try again in a moment.")
LOSSES: Final = (ConnectionError, TimeoutError, StaleConnectionError, UnexpectedEOF)  # errors of a lost connection

log = structlog.get_logger()


class ConnectionMonitor:
    """Records outages of the connection to NATS; ends the process if the connection is closed while the worker runs."""

    def __init__(self) -> None:
        self.may_close = True  # unless a worker runs: `faststream publish` starts none
        self._broker: NatsBroker | None = None
        self._connected_at = self._drop_logged_at = -math.inf
        self._restored_at = -math.inf
        self.refusal: Exception | None = None  # why NATS has refused the start of this worker
        self._loss: str | None = None  # why the connection was lost
        self._end_start: Callable[[], None] | None = None  # set while the worker starts

    @contextmanager
    def call_on_refusal(self, abort_start: Callable[[], None]) -> Iterator[None]:
        """Call `abort_start` if NATS refuses the login or a permission while the `with` block runs."""
        self._end_start, self.may_close = abort_start, False
        try:
            yield
        finally:
            self._end_start = None

    def connected(self, broker: NatsBroker) -> None:
        """Record that the worker has connected to NATS for the first time; `broker`: has the connection."""
        self._broker, self._connected_at = broker, time.monotonic()

    def expect_close(self) -> None:
        """Note that the worker is shutting down: from now on, a closed connection is no error."""
        self.may_close = True

    def restored(self) -> None:
        """Record the end of an outage: NATS answers again after a lost connection or a time without replies."""
        self._restored_at = time.monotonic()

    @property
    def seconds_since_connected(self) -> float:
        """Seconds since this worker first connected to NATS; infinite if it has not connected yet.

        The worker does not know of outages before its first connection.
        """
        return time.monotonic() - self._connected_at

    @property
    def seconds_since_restored(self) -> float:
        """Seconds since the last outage ended; infinite if there was none."""
        return time.monotonic() - self._restored_at

    async def on_disconnected(self) -> None:
        """Log that the connection to NATS is lost."""
        if not self.may_close:
            log.warning("nats_disconnected", error=self._loss)

    async def on_reconnected(self) -> None:
        """Record and log that the connection to NATS is restored."""
        self.restored()
        self._loss = None
        log.info("nats_reconnected")

    async def on_error(self, error: Exception) -> None:
        """Handle an error that nats-py reports, and log it unless another log line explains it.

        If NATS refuses something during the start, the error that then ends the start explains it. An error that ends
        the connection is part of the log line `nats_disconnected`.
        """
        if isinstance(error, SlowConsumerError):
            await self._refuse(error)
        elif self._end_start is not None and _is_refusal(error):
            self.refusal = self.refusal or error
            asyncio.get_running_loop().call_soon(self._end_start)  # later: nats-py calls this method inside the start
        elif PERMISSIONS_ERR in str(error):
            log.error("nats_permission_refused", error=str(error))
        elif self._end_start is None and isinstance(
            error, LOSSES
        ):  # also for each unavailable server during the outage
            self._loss = describe(error)
        else:
            log.warning("nats_error_received", error=describe(error))

    async def _refuse(self, dropped: SlowConsumerError) -> None:
        """Reply with an error to a request that nats-py has dropped because too many requests wait for this worker."""
        if self._broker is not None and is_inbox(dropped.reply):
            await self._broker.publish(ErrorReply(error=BUSY), dropped.reply)
        if time.monotonic() - self._drop_logged_at > DROPS_LOGGED_EVERY_S:
            self._drop_logged_at = time.monotonic()
            log.warning("messages_dropped", subject=dropped.subject)

    async def on_closed(self) -> None:
        """End the process at once, unless the worker is shutting down or was never started.

        nats-py never reopens a closed connection, and the pull loops of FastStream would then block the event loop.
        """
        if not self.may_close:
            log.critical("nats_closed")
            os._exit(1)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, ssl.SSLError) or any(words in str(error).lower() for words in REFUSALS)
