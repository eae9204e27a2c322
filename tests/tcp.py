"""Servers of a test's own, which leave no connection behind."""

import asyncio
import ssl
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def served(
    serve: Callable[[StreamReader, StreamWriter], Coroutine[None, None, None]],
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """A server that gives each connection to `serve`; yields its port, and aborts what is open when the body ends."""
    open_: dict[asyncio.Task[None], StreamWriter] = {}

    def accept(reader: StreamReader, writer: StreamWriter) -> None:
        open_[asyncio.create_task(_serve(serve, reader, writer))] = writer

    server = await asyncio.start_server(accept, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for _ in range(3):  # asyncio calls `accept` for a connection that has just come
            await asyncio.sleep(0)
        for task, writer in open_.items():
            task.cancel()
            if not writer.is_closing():
                writer.transport.abort()
        await asyncio.gather(*open_, *map(_lost, open_.values()), return_exceptions=True)


async def _serve(
    serve: Callable[[StreamReader, StreamWriter], Coroutine[None, None, None]],
    reader: StreamReader,
    writer: StreamWriter,
) -> None:
    """Serve one connection, and close it."""
    try:
        with suppress(OSError, EOFError):  # the other side has gone
            await serve(reader, writer)
    finally:
        writer.close()
        await _lost(writer)


async def _lost(writer: StreamWriter) -> None:
    with suppress(OSError):
        await writer.wait_closed()
