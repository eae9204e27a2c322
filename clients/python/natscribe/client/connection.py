"""Connects to NATS: fails soon if no server is reachable at the start, but waits during later outages."""

import asyncio
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import nats.errors
from pydantic import ValidationError

from natscribe.client.command import command
from natscribe.client.errors import ClientError, NoServerError, SettingsError, UnreachableError
from natscribe.client.permissions import Connection
from natscribe.jetstream.nats_py_compat import close, tolerate_unreadable_messages
from natscribe.settings import Settings, describe_invalid_setting

CONNECT_TIMEOUT_S = 2  # of one address
GRACE_PERIOD_S = 1  # added to the timeouts of all addresses for the first connection
MAX_FAILURES = 4  # failed attempts to connect, for each address, after which the first connection is given up
OutageCallback = Callable[[bool], None]


def read_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: A setting is invalid.
    """
    try:
        return Settings.read()
    except ValidationError as error:
        raise SettingsError(describe_invalid_setting(error)) from error


async def connect(settings: Settings, on_outage: OutageCallback | None = None) -> Connection:
    """Connect to NATS, and return the connection, which reconnects by itself after later outages.

    `on_outage` is called with True when the connection is lost, and with False when it is restored.

    Raises:
        UnreachableError: No server is reachable, or the server refuses the login.
    """
    connection = Connection(settings.nats_user, settings.nats_inbox_prefix)
    tolerate_unreadable_messages(connection)

    async def report(*, is_outage: bool) -> None:
        if not is_outage:
            connection.handle_reconnect()
        if on_outage is not None and not connection.is_closed:  # closing is not an outage
            on_outage(is_outage)

    given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    first = _FirstConnection(connection, MAX_FAILURES * len(settings.nats_servers), given_up)
    password = settings.nats_password
    connecting = connection.connect(
        settings.nats_servers,
        name="natscribe client",
        user=settings.nats_user,
        password=password.get_secret_value() if password is not None else None,
        user_credentials=str(settings.nats_creds_file or "") or None,
        tls=_tls_context(settings.nats_tls_ca_file),
        inbox_prefix=settings.nats_inbox_prefix,
        error_cb=first.handle_error,
        disconnected_cb=partial(report, is_outage=True),
        reconnected_cb=partial(report, is_outage=False),
        connect_timeout=CONNECT_TIMEOUT_S,
        reconnect_time_wait=0,
        max_reconnect_attempts=1,
        ping_interval=5,
    )
    # nats-py tries each address twice before it gives up
    within_s = CONNECT_TIMEOUT_S * len(settings.nats_servers) + GRACE_PERIOD_S
    if not await first.connects_within(asyncio.ensure_future(connecting), within_s):
        await close(connection)
        raise _error_of(settings.nats_addresses, first.failures) from next(iter(first.failures), None)
    connection.options |= {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.5}  # reconnect after later outages
    return connection


@dataclass
class _FirstConnection:
    """Collects the failures of a client's first attempts to connect, and stops after `max_failures` of them.

    Without this limit, nats-py might never stop: it drops an address after some failures, but adds each address that a
    server of a cluster announces, even the address of a server that refuses the login.
    """

    connection: Connection
    max_failures: int
    given_up: "asyncio.Future[None]"
    failures: list[Exception] = field(default_factory=list)
    is_established: bool = False  # each later failure is an outage

    async def handle_error(self, failure: Exception) -> None:
        self.connection.handle_error(failure)
        if self.is_established:
            return
        self.failures.append(failure)
        if isinstance(failure, ssl.SSLError) and not self.given_up.done():
            self.given_up.set_result(None)  # after this error nats-py waits forever for the end of the connection
        if len(self.failures) >= self.max_failures:
            self.connection.options["allow_reconnect"] = False  # nats-py gives up with this failure

    async def connects_within(self, connecting: "asyncio.Future[None]", within_s: float) -> bool:
        """Return whether the asyncio task `connecting` connects within `within_s` seconds; cancel it if it does not.

        The errors that it raises are added to `failures`.
        """
        try:
            await asyncio.wait([connecting, self.given_up], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                connecting.result()
                self.is_established = True
                return True
        except (nats.errors.Error, OSError, ValueError) as error:
            self.failures.append(error)
        finally:
            connecting.cancel()
        await asyncio.wait([connecting], timeout=GRACE_PERIOD_S)  # or it might still connect later
        return False


def _tls_context(authority: Path | None) -> ssl.SSLContext | None:
    if authority is None:
        return None
    try:
        return ssl.create_default_context(cafile=authority)
    except ssl.SSLError as error:
        what = f"NATS_TLS_CA_FILE ({authority}) contains no certificate"
        raise SettingsError(what, "name the file of your certificate authority") from error


def _error_of(addresses: str, failures: Iterable[Exception]) -> ClientError:
    """Return the error that best explains why a client could not connect.

    If one of `failures` is a refused login or an untrusted certificate, the error reports the first of these. Otherwise
    it reports that no server is reachable at `addresses`.
    """
    for failure in failures:
        if isinstance(failure, nats.errors.AuthorizationError) or "authorization" in str(failure).lower():
            return UnreachableError(
                f"NATS at {addresses} refuses the login", "check NATS_USER, NATS_PASSWORD or NATS_CREDS_FILE"
            )
        if isinstance(failure, ssl.SSLError):
            return UnreachableError(
                f"NATS at {addresses} is not trusted ({failure})", "check NATS_URL and NATS_TLS_CA_FILE"
            )
    return NoServerError(
        addresses, f"set NATS_URL to the address of a server, or start the service with `{command()} up`"
    )
