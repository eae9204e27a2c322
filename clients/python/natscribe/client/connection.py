"""Connects to NATS: fails at once if no server answers at first, and waits during later outages."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nats.errors
from pydantic import SecretStr, ValidationError

from natscribe.client.command import command
from natscribe.client.errors import ClientError, NoServerError, SettingsError, UnreachableError
from natscribe.client.permissions import Connection
from natscribe.jetstream.nats_py_compat import close, tolerate_lost_writes, tolerate_unreadable_messages
from natscribe.settings import Settings, describe_invalid_setting

CONNECT_TIMEOUT_S = 2  # of one address
PATIENCE_S = 1  # for the first connection, beside a timeout of each address
FAILURES_AT_MOST = 4  # failed attempts to connect, for each address, after which the first connection is given up
OutageCallback = Callable[[bool], None]


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: A setting is wrong.
    """
    try:
        return Settings.read()
    except ValidationError as error:
        raise SettingsError(describe_invalid_setting(error)) from error


async def connect(settings: Settings, on_outage: OutageCallback | None = None) -> Connection:
    """Connect to NATS with these settings.

    `on_outage` is called with True when NATS goes away later, and with False when NATS is back.

    Raises:
        UnreachableError: No server answers, or the server refuses the login.
    """
    tolerate_lost_writes()
    connection = Connection(settings.nats_user, settings.nats_inbox_prefix)
    tolerate_unreadable_messages(connection)

    async def report(*, away: bool) -> None:
        if not away:
            connection.note_reconnect()
        if on_outage is not None and not connection.is_closed:  # closing is not an outage
            on_outage(away)

    await _connect_first(connection, settings, report)
    connection.options |= {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.5}  # reconnect after later outages
    return connection


@dataclass
class _FirstConnection:
    """Notes the failures while a client connects for the first time, and gives up after `most` failures.

    nats-py alone might never give up: it drops an address after some failures, but adds each address that a cluster's
    server names, even one that refuses the login.
    """

    connection: Connection
    most: int  # failures
    given_up: "asyncio.Future[None]"
    failures: list[Exception] = field(default_factory=list)
    made: bool = False  # whether the first connection was made: each later failure is an outage

    async def note(self, failure: Exception) -> None:
        self.connection.note_error(failure)
        if self.made:
            return
        self.failures.append(failure)
        if isinstance(failure, ssl.SSLError) and not self.given_up.done():
            self.given_up.set_result(None)  # after this error nats-py waits forever for the end of the connection
        if len(self.failures) >= self.most:
            self.connection.options["allow_reconnect"] = False  # nats-py gives up with this failure


async def _connect_first(connection: Connection, settings: Settings, report: Callable[..., Awaitable[None]]) -> None:
    """Connect for the first time, and have later outages reported."""
    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first = _FirstConnection(connection, FAILURES_AT_MOST * len(settings.nats_servers), given_up)
    tls = _trusting(settings.nats_tls_ca_file)
    connecting = asyncio.ensure_future(_connect(connection, settings, tls, first.note, report))
    try:
        # nats-py tries each address twice before it gives up
        within = CONNECT_TIMEOUT_S * len(settings.nats_servers) + PATIENCE_S
        await asyncio.wait([connecting, given_up], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            first.made = True
            return
    except (nats.errors.Error, OSError, ValueError) as error:
        first.failures.append(error)
    finally:
        connecting.cancel()
    await asyncio.wait([connecting], timeout=PATIENCE_S)  # or it might still connect after the end
    await close(connection)
    raise _explained(settings.nats_addresses, first.failures) from next(iter(first.failures), None)


async def _connect(
    connection: Connection,
    settings: Settings,
    tls: ssl.SSLContext | None,
    note: Callable[[Exception], Awaitable[None]],
    report: Callable[..., Awaitable[None]],
) -> None:
    await connection.connect(
        settings.nats_servers,
        name="natscribe client",
        user=settings.nats_user,
        password=_plain(settings.nats_password),
        user_credentials=str(settings.nats_creds_file or "") or None,
        tls=tls,
        inbox_prefix=settings.nats_inbox_prefix,
        error_cb=note,
        disconnected_cb=partial(report, away=True),
        reconnected_cb=partial(report, away=False),
        connect_timeout=CONNECT_TIMEOUT_S,
        reconnect_time_wait=0,
        max_reconnect_attempts=1,
        ping_interval=5,
    )


def _trusting(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        message = f"NATS_TLS_CA_FILE ({authority}) holds no certificate: name the file of your certificate authority."
        raise SettingsError(message) from error


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _explained(place: str, failures: Iterable[Exception]) -> ClientError:
    """Make the error of a client that cannot connect: the first refused login or certificate, else a missing server."""
    for failure in failures:
        if isinstance(failure, nats.errors.AuthorizationError) or "authorization" in str(failure).lower():
            return UnreachableError(
                f"NATS at {place} refuses the login: check NATS_USER, NATS_PASSWORD or NATS_CREDS_FILE."
            )
        if isinstance(failure, ssl.SSLError):
            return UnreachableError(f"NATS at {place} is not trusted ({failure}): check NATS_TLS_CA_FILE.")
    return NoServerError(place, f"set NATS_URL to the address of a server, or start the service with `{command()} up`")
