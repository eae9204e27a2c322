"""The connection to NATS: how a worker logs in, connects, and asks again while NATS does not answer yet."""

import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import TypeVar

import structlog
from faststream.nats import NatsBroker, NatsCredentials, NatsSecurity, NatsUserPassword
from faststream.nats.opentelemetry import NatsTelemetryMiddleware
from nats.aio.client import Client
from nats.js.errors import ServiceUnavailableError
from opentelemetry.trace import TracerProvider

from app.jetstream.connection_monitor import ConnectionMonitor
from app.jetstream.nats_py_compat import tolerate_lost_writes, tolerate_unreadable_headers
from app.jetstream.stream_log import UNANSWERED
from app.settings import Settings
from app.telemetry import logs, tracing

NO_JETSTREAM = (
    "NATS answers, but has no JetStream: start nats-server with -js, and a cluster with enough of its servers."
)

CONNECT_TIMEOUT_S = 30.0  # at the start
RETRY_EVERY_S = 0.5
PING_INTERVAL_S = 10  # with nats-py's two minutes a silent partition is noticed after four
FOREVER = -1  # after nats-py's sixty attempts the connection is closed, and FastStream's pull loops never yield

T = TypeVar("T")

log = structlog.get_logger()


def broker(settings: Settings, monitor: ConnectionMonitor, *, traces: TracerProvider) -> NatsBroker:
    """A broker that is not connected yet; it reconnects for ever, and tells the monitor."""
    return NatsBroker(
        settings.nats_url,
        security=security(settings),
        name="natscribe",
        max_reconnect_attempts=FOREVER,
        reconnect_time_wait=1,
        ping_interval=PING_INTERVAL_S,
        graceful_timeout=settings.task_grace,
        disconnected_cb=monitor.on_disconnected,
        reconnected_cb=monitor.on_reconnected,
        closed_cb=monitor.on_closed,
        middlewares=[] if traces is tracing.OFF else [NatsTelemetryMiddleware(tracer_provider=traces)],
        error_cb=_failed,
        logger=structlog.get_logger(logs.BROKER),
        log_level=logging.DEBUG,  # FastStream logs two lines for each message
    )


async def reach(nats: NatsBroker, settings: Settings) -> Client:
    """Connect within CONNECT_TIMEOUT_S, or end the start with one sentence; Ctrl-C and SIGTERM end the wait.

    Raises:
        ConnectionError: No server answers.
    """
    tolerate_lost_writes()
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S) as patience:
            with _ended_by_signals(patience):
                connection = await nats.connect()
    except TimeoutError:
        address = settings.nats_url.rpartition("@")[2]  # before it there may be a password
        message = f"No NATS server answers at {address}: start it first, or correct NATS_URL."
        raise start_failed(message) from None
    tolerate_unreadable_headers(connection)
    return connection


def start_failed(message: str) -> ConnectionError:
    """The error that ends a start, with one sentence for the operator: no traceback is printed."""
    sys.tracebacklimit = 0
    return ConnectionError(message)


@contextmanager
def _ended_by_signals(patience: asyncio.Timeout) -> Iterator[None]:
    """Have Ctrl-C and SIGTERM end the wait: the HTTP server, which handles them, waits for the end of the start."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()  # only there
    handlers = {number: signal.getsignal(number) for number in numbers}
    for number in handlers:
        loop.add_signal_handler(number, lambda: patience.reschedule(loop.time()))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def retry_until_answered(work: Callable[[], Awaitable[T]]) -> T:
    """Do a step of the start again until NATS answers.

    Raises:
        NatsError: NATS has not answered for CONNECT_TIMEOUT_S.
        ConnectionError: The server has no JetStream.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + CONNECT_TIMEOUT_S
    while True:
        try:
            return await work()
        except UNANSWERED as error:
            if loop.time() > give_up_at and isinstance(error, ServiceUnavailableError):
                raise start_failed(NO_JETSTREAM) from None
            if loop.time() > give_up_at:
                raise
            await asyncio.sleep(RETRY_EVERY_S)


def security(settings: Settings) -> NatsSecurity | None:
    """The login and TLS of the settings, None where they have neither."""
    tls = ssl.create_default_context(cafile=settings.nats_tls_ca_file) if settings.nats_tls_ca_file else None
    if settings.nats_creds_file is not None:
        return NatsCredentials(str(settings.nats_creds_file), ssl_context=tls)
    if settings.nats_user is not None:
        password = settings.nats_password.get_secret_value() if settings.nats_password else ""
        return NatsUserPassword(settings.nats_user, password, ssl_context=tls)
    return NatsSecurity(ssl_context=tls) if tls else None


async def _failed(error: Exception) -> None:
    log.warning("nats_error_received", error=str(error) or type(error).__name__)
