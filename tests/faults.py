"""A proxy before an HTTP server: it disturbs the requests that a test names, and lets all others pass."""

import asyncio
import re
import ssl
import subprocess
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.tcp import served

CERTIFICATES = Path(__file__).parents[1] / "deploy/nats/certificates.sh"
HOST = "127.0.0.1"
_PIECE = 64 * 1024  # bytes


@dataclass(frozen=True)
class Fault:
    """A fault of one request: the proxy responds itself, or truncates the response of the server."""

    reply: bytes | None = None  # instead of the server's; empty: none at all
    after: int = 0  # bytes of the server's body that pass
    ends: str = "reset"  # or "closed", "stalled", or "held": it passes once `released` is set
    then: Callable[[], Awaitable[object]] | None = None  # called when the response is truncated


def status(code: int, body: str = "", headers: str = "") -> Fault:
    """A response of the proxy itself."""
    response = f"HTTP/1.1 {code} Fault\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n{body}"
    return Fault(reply=response.encode())


@dataclass
class Proxy:
    """Passes requests on; the next ones meet the faults, one each."""

    upstream: int  # port
    port: int = 0
    faults: list[Fault | None] = field(default_factory=list)  # None: nothing happens
    always: Fault | None = None  # met by each request once no other fault is left
    requests: list[str] = field(default_factory=list)  # first lines
    sent: int = 0  # bytes of bodies that were passed on to clients
    released: asyncio.Event = field(default_factory=asyncio.Event)  # ends what is stalled

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One request, then the connection ends."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.partition(b"\r\n")[0].decode())
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None and fault.reply is not None:
            length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length and fault.reply else 0)
            writer.write(fault.reply)
            await writer.drain()
        else:
            await self._pass_on(head, reader, writer, fault)

    async def _pass_on(self, head: bytes, reader: StreamReader, writer: StreamWriter, fault: Fault | None) -> None:
        upstream_reader, question = await asyncio.open_connection(HOST, self.upstream)
        question.write(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        body = asyncio.create_task(pump(reader, question))
        try:
            writer.write(await upstream_reader.readuntil(b"\r\n\r\n"))
            await self._pipe(upstream_reader, writer, fault.after if fault is not None else None)
            if fault is not None:
                await self._cut_off(fault, writer)
                if fault.ends == "held":
                    await self._pipe(upstream_reader, writer, None)
        finally:
            question.close()  # before anything is awaited: a test that ends cancels this task, here too
            body.cancel()
            await asyncio.wait([body])
            with suppress(OSError):
                await question.wait_closed()

    async def _pipe(self, reader: StreamReader, writer: StreamWriter, left: int | None) -> None:
        """Pass on the first `left` bytes of a response; None: all."""
        while left != 0 and (piece := await reader.read(_PIECE if left is None else min(_PIECE, left))):
            writer.write(piece)
            await writer.drain()
            self.sent += len(piece)
            left = None if left is None else left - len(piece)

    async def _cut_off(self, fault: Fault, writer: StreamWriter) -> None:
        if fault.then is not None:
            await fault.then()
        if fault.ends in {"stalled", "held"}:
            await self.released.wait()
        if fault.ends == "reset":
            writer.transport.abort()


async def pump(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass everything on until the reader ends or either side has gone."""
    with suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def passing_on(url: str, *, after_s: float = 0.0) -> AsyncIterator[str]:
    """Another address of a server on this machine; each new connection is passed on after `after_s` seconds."""
    address = urlsplit(url)

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        await asyncio.sleep(after_s)
        upstream_reader, upstream_writer = await asyncio.open_connection(HOST, address.port)
        try:
            await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))
        finally:
            upstream_writer.transport.abort()

    async with served(serve) as port:
        yield f"{address.scheme}://{HOST}:{port}"


@asynccontextmanager
async def disturbed(upstream: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Proxy]:
    """A proxy before a server on this machine, until the body ends; clients reach it over TLS if that is given."""
    proxy = Proxy(upstream)
    async with served(proxy.serve, HOST, tls=tls) as proxy.port:
        yield proxy


def make_certificates(folder: Path) -> Path:
    """Make a certificate and its authority in a folder; return the folder."""
    subprocess.run(["sh", str(CERTIFICATES), str(folder)], check=True)  # noqa: S607
    return folder


def served_with(certificates: Path) -> ssl.SSLContext:
    """What a server needs for TLS with the certificate in a folder."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
    return context
