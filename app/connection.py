"""The connection to NATS: who we are, whom we trust, and what happens when it ends."""

import logging
import ssl
from collections.abc import Awaitable, Callable

import structlog
from faststream.nats import NatsBroker, NatsCredentials, NatsSecurity, NatsUserPassword
from faststream.nats.opentelemetry import NatsTelemetryMiddleware
from opentelemetry.trace import TracerProvider

from app.settings import Settings

PING_EVERY = 10  # seconds: the library's two minutes leave a silent partition unnoticed for four
FOREVER = -1  # the library's sixty attempts end with a closed connection and a spinning pull loop

log = structlog.get_logger()


def broker(
    settings: Settings, *, graceful_timeout: float, closed: Callable[[], Awaitable[None]], traces: TracerProvider
) -> NatsBroker:
    """A broker that reconnects for ever and tells when it is closed all the same; connects to nothing yet."""
    return NatsBroker(
        settings.nats_url,
        security=security(settings),
        name="natscribe",
        max_reconnect_attempts=FOREVER,
        reconnect_time_wait=1,
        ping_interval=PING_EVERY,
        graceful_timeout=graceful_timeout,
        disconnected_cb=_disconnected,
        reconnected_cb=_reconnected,
        closed_cb=closed,
        middlewares=[NatsTelemetryMiddleware(tracer_provider=traces)],
        error_cb=_failed,
        logger=structlog.get_logger("natscribe.broker"),
        log_level=logging.DEBUG,  # it speaks twice a message
    )


def security(settings: Settings) -> NatsSecurity | None:
    """What the settings say about passwords, credentials and TLS."""
    tls = ssl.create_default_context(cafile=settings.nats_tls_ca_file) if settings.nats_tls_ca_file else None
    if settings.nats_creds_file is not None:
        return NatsCredentials(str(settings.nats_creds_file), ssl_context=tls)
    if settings.nats_user is not None:
        password = settings.nats_password.get_secret_value() if settings.nats_password else ""
        return NatsUserPassword(settings.nats_user, password, ssl_context=tls)
    return NatsSecurity(ssl_context=tls) if tls else None


async def _disconnected() -> None:
    log.warning("nats_disconnected")


async def _reconnected() -> None:
    log.info("nats_reconnected")


async def _failed(error: Exception) -> None:
    log.warning("nats_error", error=str(error) or type(error).__name__)
