"""Ports that `natscribe up` listens on."""

from collections.abc import Collection

from natscribe.client import ClientError

from app.command.embedded import free_port, is_free
from app.command.embedded.process import HOST


def choose_port(  # noqa: PLR0913 -- each candidate, and what it must not be
    port: int | None,
    default: int,
    option: str,
    host: str = HOST,
    *,
    last: int | None = None,
    besides: Collection[int | None] = (),
) -> int:
    """Return the port that an option names, else the last or the default port if it is free, else any free port.

    `last`: the port that the previous run used. `besides`: other ports that this service uses.

    Raises:
        ClientError: Another process uses the port that the option names, or it is one of `besides`.
    """
    if port is not None and (port in besides or not is_free(port, host)):
        what = f"Port {port} is in use"
        raise ClientError(what, f"choose another with {option}, or leave {option} out for any free port")
    usual = (candidate for candidate in (last, default) if candidate and candidate not in besides)
    return port or next((candidate for candidate in usual if is_free(candidate, host)), None) or free_port()
