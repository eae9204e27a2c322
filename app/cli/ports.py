"""Ports that `natscribe up` listens on."""

from collections.abc import Collection

from natscribe.client import ClientError

from app.embedded import free_port, is_free
from app.embedded.process import HOST


def choose_port(
    port: int | None, default: int, option: str, host: str = HOST, *, besides: Collection[int | None] = ()
) -> int:
    """Return the port that an option names, else the default port if it is free, else any free port.

    `besides`: other ports that this service uses.

    Raises:
        ClientError: Another process uses the port that the option names, or it is one of `besides`.
    """
    if port is not None and (port in besides or not is_free(port, host)):
        message = f"Port {port} is in use: choose another with {option}, or leave {option} out for any free port."
        raise ClientError(message)
    return port or (default if default not in besides and is_free(default, host) else free_port())
