"""A server that ends with its parent, starts again on the same data, and can be hurt by tests."""

import asyncio
import errno
import os
import signal
import socket
import time
from abc import ABC, abstractmethod
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from random import shuffle

from app.embedded.guarded import Guarded

HOST = "127.0.0.1"
DEADLINE = 10.0
GRACE = 5.0
LOOK_EVERY = 0.5  # seconds
_POLL = 0.02
_OTHER_PORTS = 5
_NOT_GIVEN = range(20_000, 32_768)  # Linux, macOS and Windows take the ports of outgoing connections from above
_LAST_WORDS = 5


class EmbeddedError(Exception):
    """An embedded server did not start; the message says why, with its last words."""


class Server(ABC):
    """One server process; when started again it has the same port and the same data."""

    usual_port: int
    distribution: str
    binary: str

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port
        self._process: Guarded | None = None
        self._log = self.folder / "server.log"

    async def start(self) -> None:
        """Start it and wait until it answers (10 s); raises EmbeddedError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for port in self._ports():
            said_before = self._log.stat().st_size if self._log.exists() else 0
            if await self._answers_on(port):
                self.port = port
                return
            await self.stop()
            words = self._log.read_bytes()[said_before:].decode(errors="replace")
            if "in use" not in words:
                break
        last = " / ".join(words.splitlines()[-_LAST_WORDS:]) or "it said nothing"
        message = f"{self.binary} did not start on {HOST}:{port}: {last}"
        raise EmbeddedError(message)

    async def keep(self, told: Callable[[str], None]) -> None:
        """Start it again whenever it ends, until cancelled; `told` hears its name each time (EmbeddedError)."""
        while self._process is not None:  # else it was stopped
            if self._process.ended:
                told(self.binary)
                await self.start()
            await asyncio.sleep(LOOK_EVERY)

    async def stop(self) -> None:
        """End it in order, by force after 5 s; its data stay."""
        process, self._process = self._process, None
        if process is not None:
            await process.stop()

    async def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._signal(signal.SIGKILL)
        await self.stop()

    def pause(self) -> None:
        """Make it hang: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal(signal.SIGCONT)

    @property
    def pid(self) -> int:
        """The server's process; 0: there is none."""
        return self._process.pid if self._process is not None else 0

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.runs:
            os.kill(self._process.pid, number)

    def _ports(self) -> Iterator[int]:
        if self.port is not None:
            yield self.port
            return
        yield self.usual_port
        for _ in range(_OTHER_PORTS):
            yield free_port()

    async def _answers_on(self, port: int) -> bool:
        deadline = time.monotonic() + DEADLINE
        with self._log.open("ab") as log:
            process = Guarded(self._command(port), lock=self.folder / "lock", grace=GRACE, output=log)
        self._process = process
        while time.monotonic() < deadline and not process.ended:
            if process.runs and await self._is_mine(port):
                return True
            await asyncio.sleep(_POLL)
        return False

    async def _is_mine(self, port: int) -> bool:
        try:
            async with asyncio.timeout(1):
                reader, writer = await asyncio.open_connection(HOST, port)
                try:
                    return await self._knows_me(reader, writer)
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
        """Where clients connect."""

    @abstractmethod
    def _command(self, port: int) -> list[str]:
        """Write the configuration and say how to start the server."""

    @abstractmethod
    async def _knows_me(self, reader: StreamReader, writer: StreamWriter) -> bool:
        """Whether the one that answers is this server, not a stranger on its port."""


def free_port() -> int:
    """A TCP port that nobody listens on at the moment, and that the system gives to no connection meanwhile."""
    ports = list(_NOT_GIVEN)
    shuffle(ports)
    return next(port for port in ports if is_free(port))


def is_free(port: int, host: str = HOST) -> bool:
    """Whether nobody listens on this TCP port at the moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True
