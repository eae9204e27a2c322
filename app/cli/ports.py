"""Ports that `natscribe up` listens on."""

from natscribe.client import ClientError

from app.embedded import free_port, is_free
from app.embedded.process import HOST


class PortInUseError(ClientError):
    """The port that an option names is in use."""

    def __init__(self, port: int, option: str) -> None:
        super().__init__(
            f"Port {port} is in use: choose another with {option}, or leave {option} out for any free port."
        )


def chosen_port(port: int | None, usual: int, option: str, host: str = HOST) -> int:
    """Return the port that an option names, else the usual one if it is free, else any free port.

    Raises:
        PortInUseError: Another process uses the port that the option names.
    """
    if port is not None and not is_free(port, host):
        raise PortInUseError(port, option)
    return port or (usual if is_free(usual, host) else free_port())
