"""The connection to NATS: connects a starting worker, waits for JetStream, and explains what NATS refuses."""

import asyncio
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import current_thread, main_thread
from typing import TypeVar

import structlog
from fast_depends import Provider
from faststream.nats import NatsBroker
from faststream.nats.opentelemetry.provider import NatsTelemetrySettingsProvider, telemetry_attributes_provider_factory
from faststream.nats.response import NatsPublishCommand
from faststream.opentelemetry import TelemetryMiddleware
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import ServiceUnavailableError
from nats.protocol.parser import PERMISSIONS_ERR
from natscribe.faststream import RECONNECT_WITHOUT_LIMIT, security
from natscribe.jetstream.nats_py_compat import tolerate_unreadable_messages
from natscribe.jetstream.repeated_requests import OUTAGE_ERRORS
from natscribe.jetstream.server_version import durability_problem
from natscribe.schemas.subjects import is_inbox
from opentelemetry.trace import TracerProvider

from app.runtime.cancellation import StopScope
from app.runtime.telemetry import logs, tracing
from app.settings import Settings
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.storage.jetstream.decoding import decode
from app.storage.jetstream.nats_py_compat import change_all_connections, send_pings_in_order
from app.storage.jetstream.publishers import WithoutCorrelationId

NO_JETSTREAM = (
    "NATS answers, but has no JetStream: start nats-server with -js; in a cluster, start more than half of its servers."
)
NO_REPLY_MESSAGE = (
    "JetStream does not answer ({error}): check the log of NATS; in a cluster, start more than half of its servers."
)
TOO_FEW_SERVERS = (
    "NATS cannot keep {replicas} copies of each stream (NATS_REPLICAS): start at least {replicas} servers of the "
    "cluster, or set NATS_REPLICAS=1."
)

NATS_WITHIN_S = 30.0  # how long a starting worker waits for NATS
RETRY_EVERY_S = 0.5
PING_INTERVAL_S = 3  # three unanswered pings end a connection within TASK_ACK_WAIT; nats-py would wait six minutes

T = TypeVar("T")

log = structlog.get_logger()


class StartError(ConnectionError):
    """The worker cannot start; the message says why, and what the operator has to do."""


class TooFewServersError(NatsError):
    """The NATS cluster has fewer servers than NATS_REPLICAS, perhaps because some of them are still starting."""

    def __init__(self, replicas: int) -> None:
        super().__init__(TOO_FEW_SERVERS.format(replicas=replicas))


def broker(settings: Settings, monitor: ConnectionMonitor, *, traces: TracerProvider) -> NatsBroker:
    """Create FastStream's broker; it is not connected yet.

    It tries to reconnect without a limit, and reports outages to `monitor`. `traces`: receives the tracing spans of
    messages, unless it is `tracing.OFF`.
    """
    return NatsBroker(
        settings.nats_servers,
        security=security(settings),
        name="natscribe",
        max_reconnect_attempts=RECONNECT_WITHOUT_LIMIT,
        reconnect_time_wait=1,
        ping_interval=PING_INTERVAL_S,
        graceful_timeout=settings.task_grace,
        disconnected_cb=monitor.on_disconnected,
        reconnected_cb=monitor.on_reconnected,
        closed_cb=monitor.on_closed,
        decoder=decode,
        provider=Provider(),  # of this worker alone: by default all brokers of a process share one
        middlewares=[WithoutCorrelationId, *([] if traces is tracing.OFF else [_telemetry(traces)])],
        error_cb=monitor.on_error,
        logger=structlog.get_logger(logs.BROKER),
        log_level=logging.DEBUG,  # hides the two lines that FastStream logs for each message
    )


def _telemetry(traces: TracerProvider) -> TelemetryMiddleware[NatsPublishCommand]:
    """Return the middleware that traces tasks and requests.

    It leaves out events, whose header `traceparent` is that of the task's publisher, and replies to this worker.
    """

    def attributes(message: Msg | None) -> NatsTelemetrySettingsProvider | None:
        if message is None or is_inbox(message.subject):
            return None
        return telemetry_attributes_provider_factory(message)

    return TelemetryMiddleware(settings_provider_factory=attributes, tracer_provider=traces)


async def connect(nats: NatsBroker, settings: Settings) -> Client:
    """Connect to NATS, for up to NATS_WITHIN_S; Ctrl-C and SIGTERM end the attempt.

    Raises:
        StartError: No server has answered within NATS_WITHIN_S; the message is for the operator.
    """
    change_all_connections()
    try:
        async with asyncio.timeout(NATS_WITHIN_S) as timeout:
            with _ended_by_signals(timeout):
                connection = await nats.connect()
    except TimeoutError:
        message = f"No NATS server answers at {settings.nats_addresses}: start it first, or correct NATS_URL."
        raise StartError(message) from None
    tolerate_unreadable_messages(connection)
    send_pings_in_order(connection)
    problem = durability_problem(connection.connected_server_version)
    if problem is not None:
        log.warning("nats_server_outdated", problem=problem.what, next_step=problem.next_step)
    return connection


@asynccontextmanager
async def stop_on_refusal(monitor: ConnectionMonitor, settings: Settings) -> AsyncIterator[None]:
    """End the block with an error as soon as NATS refuses the login or a permission that the start of the worker needs.

    NATS does not reply to a refused request, so the block would wait for its timeout without saying why.

    Raises:
        StartError: NATS has refused something.
    """
    try:
        async with StopScope(StartError()) as stop:
            with monitor.call_on_refusal(stop.now):
                yield
    except (StartError, NatsError):
        if monitor.refusal is None:
            raise
        raise StartError(_explain(monitor.refusal, settings)) from None


def _explain(refusal: Exception, settings: Settings) -> str:
    """Return a message for the operator: what NATS refuses to which user, and which setting or right to correct."""
    user = f"the user {settings.nats_user}" if settings.nats_user else "a client without NATS_USER"
    if settings.nats_creds_file is not None:
        user = f"the user of {settings.nats_creds_file}"
    reason = str(refusal).removeprefix("nats: ").strip("'")
    if PERMISSIONS_ERR in reason.lower():
        return (
            f"NATS refuses {user} what a worker needs: {reason}. Set NATS_USER to the user of the service, or give "
            "this user the service's rights: docs/access.md lists them."
        )
    if isinstance(refusal, ssl.SSLError):
        return f"NATS at {settings.nats_addresses} is not trusted ({reason}): correct NATS_URL or NATS_TLS_CA_FILE."
    return (
        f"NATS at {settings.nats_addresses} refuses the login of {user} ({reason}): correct NATS_USER and "
        "NATS_PASSWORD, or NATS_CREDS_FILE."
    )


@contextmanager
def _ended_by_signals(timeout: asyncio.Timeout) -> Iterator[None]:
    """End the `with` block on Ctrl-C and SIGTERM, by letting `timeout` expire at once.

    It is needed while the worker starts: the HTTP server handles these signals only afterwards.
    """
    loop = asyncio.get_running_loop()
    # Only the main thread may handle signals.
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    for number in handlers:
        loop.add_signal_handler(number, lambda: timeout.reschedule(loop.time()))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def retry_until_available(step: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step of the worker's start until NATS answers, and return the result of the step.

    Raises:
        StartError: NATS has not answered for NATS_WITHIN_S, has no JetStream, or is a cluster of too few servers.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + NATS_WITHIN_S
    while True:
        try:
            return await step()
        except (TooFewServersError, *OUTAGE_ERRORS) as error:
            if loop.time() > deadline:
                message = NO_JETSTREAM if isinstance(error, ServiceUnavailableError) else NO_REPLY_MESSAGE
                is_explained = isinstance(error, TooFewServersError)
                raise StartError(str(error) if is_explained else message.format(error=error)) from None
        await asyncio.sleep(RETRY_EVERY_S)
