"""Runs a server that ends with its parent and restarts with the same data."""

import asyncio
import errno
import socket
import time
from abc import ABC, abstractmethod
from asyncio import StreamReader, StreamWriter
from collections import deque
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from random import sample

from app.command.embedded.guarded_process import GuardedProcess

HOST = "127.0.0.1"
_GRACE_S = 5.0  # a server that does not stop is killed after this time
_ALIVE_CHECK_EVERY_S = 0.5  # how often `keep_running` checks whether the server has ended
_POLL_S = 0.02  # the interval at which a starting server is probed
_OTHER_PORTS = 5  # free ports that are tried after the default port
_returned: deque[int] = deque(maxlen=100)  # the latest free ports: they may not be in use yet
PORTS = range(20_000, 32_768)  # of free_port: Linux, macOS and Windows use higher ports for outgoing connections
_LAST_LINES = 5  # lines of the server's log in an error message


class EmbeddedError(Exception):
    """An embedded server did not start; the message has the last lines of its log."""


class Server(ABC):
    """An embedded server: one process, which has the same port and the same data after a restart.

    `distribution`: the Python package that contains the server's `binary`. `port`: by default, `default_port` if it is
    free, otherwise any free port.
    """

    default_port: int
    distribution: str
    binary: str
    start_timeout_s = 10.0  # a server that does not reply within this time has not started

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port
        self._process: GuardedProcess | None = None
        self._log = self.folder / "server.log"

    async def start(self) -> None:
        """Start the server and wait until it replies.

        Raises:
            EmbeddedError: The server does not reply within `start_timeout_s`, or another process uses its folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for port in self._ports():
            size_before = self._log.stat().st_size if self._log.exists() else 0
            with self._log.open("ab") as log:
                process = GuardedProcess(self._command(port), lock=self.folder / "lock", grace=_GRACE_S, output=log)
            self._process = process
            if await self._is_ready(process, port):
                self.port = port
                return
            await self.stop()
            if process.refusal:
                message = f"{self.binary} did not start: {process.refusal}"
                raise EmbeddedError(message)
            output = self._log.read_bytes()[size_before:].decode(errors="replace")
            if "in use" not in output:
                break
        last = " / ".join(output.splitlines()[-_LAST_LINES:]) or "it logged nothing"
        message = f"{self.binary} did not start on {HOST}:{port}: {last}"
        raise EmbeddedError(message)

    async def keep_running(self, on_restart: Callable[[str], None]) -> None:
        """Restart the server whenever it ends, until cancelled.

        `on_restart`: called before each restart with the name of the server's program.

        Raises:
            EmbeddedError: The server does not start again.
        """
        while self._process is not None:  # None after `stop`
            if self._process.ended:
                on_restart(self.binary)
                await self.stop()  # closes what is left of the ended process
                await self.start()
            await asyncio.sleep(_ALIVE_CHECK_EVERY_S)

    async def stop(self) -> None:
        """Stop the server, if necessary with SIGKILL after 5 s; the data of the server remain."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    @property
    def pid(self) -> int:
        """The process id of the server; 0 if the server does not run."""
        return self._process.pid if self._process is not None else 0

    def _ports(self) -> Iterator[int]:
        if self.port is not None:
            yield self.port
            return
        yield self.default_port
        for _ in range(_OTHER_PORTS):
            yield free_port()

    async def _is_ready(self, process: GuardedProcess, port: int) -> bool:
        deadline = time.monotonic() + self.start_timeout_s
        while time.monotonic() < deadline and not process.ended:
            if process.runs and await self._replies(port):
                return True
            await asyncio.sleep(_POLL_S)
        return False

    async def _replies(self, port: int) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    return await self._is_this_server(reader, writer)
                finally:
                    writer.close()
        except (OSError, EOFError, TimeoutError):
            return False

    def _executable(self) -> str:
        files = metadata.files(self.distribution) or ()
        return next(str(file.locate()) for file in files if file.name == self.binary)

    @property
    @abstractmethod
    def url(self) -> str:
        """The address at which clients connect to the server."""

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """Write the server's configuration, and return the command that starts the server on `port`."""

    @abstractmethod
    async def _is_this_server(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Return whether this server replies on a connection, and not another process on the same port."""


def free_port() -> int:
    """Return a TCP port that is free now and that the system never uses for an outgoing connection."""
    free = next(port for port in sample(PORTS, len(PORTS)) if port not in _returned and is_free(port))
    _returned.append(free)
    return free


def is_free(port: int, host: str = HOST) -> bool:
    """Return whether a TCP port of `host` is free now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True
