"""A connection that is lost while somebody writes to it."""

import asyncio

import pytest

from app.jetstream.lost_writes import tolerate_lost_writes


async def test_writing_to_a_lost_connection_is_a_connection_error() -> None:
    # Given a connection that is lost, and that has noticed
    tolerate_lost_writes()
    server = await asyncio.start_server(lambda _, theirs: theirs.transport.abort(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.transport.abort()
        await reader.read()
        # When more is written
        writer.writelines([b"one", b"two"])
        # Then that is told as a lost connection
        with pytest.raises(ConnectionError):
            await writer.drain()
