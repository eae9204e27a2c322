"""The connection to NATS: quick to say that nobody is there, patient once it stands."""

import ssl

import nats.errors
from nats.aio.client import Client as Nats
from pydantic import SecretStr

from app.client.errors import ClientError, UnreachableError
from app.settings import Settings

PATIENCE = 5.0  # seconds for one answer
START = "start one with `natscribe up`, or set NATS_URL to where yours is"


async def connect(settings: Settings) -> Nats:
    """Connect as the settings say; raises UnreachableError at once where no server answers."""
    connection = Nats()
    failures: list[Exception] = []

    async def note(failure: Exception) -> None:
        failures.append(failure)

    try:
        await connection.connect(
            settings.nats_url,
            name="natscribe client",
            user=settings.nats_user,
            password=_plain(settings.nats_password),
            user_credentials=str(settings.nats_creds_file) if settings.nats_creds_file else None,
            tls=ssl.create_default_context(cafile=settings.nats_tls_ca_file) if settings.nats_tls_ca_file else None,
            error_cb=note,
            connect_timeout=2,
            reconnect_time_wait=0,
            max_reconnect_attempts=1,
            ping_interval=5,
        )
    except (nats.errors.Error, OSError, ValueError) as error:
        await connection.close()
        raise _explained(settings.nats_url, failures[-1] if failures else error) from error
    connection.options |= {"max_reconnect_attempts": -1, "reconnect_time_wait": 0.5}  # from here on: wait outages out
    return connection


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
    return UnreachableError(f"No NATS server answers at {place}: {START}.")
