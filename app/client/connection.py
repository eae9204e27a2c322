"""The connection to NATS: quick to say that nobody is there, patient once it stands."""

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nats.errors
from nats.aio.client import Client as Nats
from pydantic import SecretStr

from app.client.command import command
from app.client.errors import ClientError, NoServerError, UnreachableError
from app.jetstream.nats_py_compat import close, tolerate_lost_writes, tolerate_unreadable_headers
from app.settings import Settings

PATIENCE = 5.0  # seconds for one answer
OutageHearer = Callable[[bool], None]


async def connect(settings: Settings, on_outage: OutageHearer | None = None) -> Nats:
    """Connect as the settings say; raises UnreachableError at once where no server answers.

    `on_outage` hears True when NATS goes away later on, False when it is back.
    """
    tolerate_lost_writes()
    connection, limit = Nats(), asyncio.timeout(None)
    tolerate_unreadable_headers(connection)
    failures: list[Exception] = []

    async def note(failure: Exception) -> None:
        failures.append(failure)
        if isinstance(failure, ssl.SSLError):  # after it the library waits for ever to see the connection closed
            limit.reschedule(asyncio.get_running_loop().time())

    async def tell(*, away: bool) -> None:
        if on_outage is not None and not connection.is_closed:  # closing is no outage
            on_outage(away)

    try:
        async with limit:
            await connection.connect(
                settings.nats_url,
                name="natscribe client",
                user=settings.nats_user,
                password=_plain(settings.nats_password),
                user_credentials=str(settings.nats_creds_file or "") or None,
                tls=_trusting(settings.nats_tls_ca_file),
                inbox_prefix=settings.nats_inbox_prefix,
                error_cb=note,
                disconnected_cb=partial(tell, away=True),
                reconnected_cb=partial(tell, away=False),
                connect_timeout=2,
                reconnect_time_wait=0,
                max_reconnect_attempts=1,
                ping_interval=5,
            )
    except (nats.errors.Error, OSError, ValueError) as error:
        await close(connection)
        raise _explained(settings.nats_url, failures[-1] if failures else error) from error
    connection.options |= {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.5}  # from here on: wait outages out
    return connection


def _trusting(authority: Path | None) -> ssl.SSLContext | None:
    return ssl.create_default_context(cafile=authority) if authority is not None else None


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _explained(url: str, reason: Exception) -> ClientError:
    place = url.rpartition("@")[2]  # what is before it may be a password
    if isinstance(reason, nats.errors.AuthorizationError) or "authorization" in str(reason).lower():
        return UnreachableError(
            f"NATS at {place} refuses the login: check NATS_USER, NATS_PASSWORD or NATS_CREDS_FILE."
        )
    if isinstance(reason, ssl.SSLError):
        return UnreachableError(f"NATS at {place} is not trusted ({reason}): check NATS_TLS_CA_FILE.")
    return NoServerError(place, f"start one with `{command()} up`, or set NATS_URL to where yours is")
