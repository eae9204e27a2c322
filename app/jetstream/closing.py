"""How a connection is closed, whatever has become of the server."""

from contextlib import suppress

from nats.aio.client import Client


async def close(nats: Client) -> None:
    """Close a connection; what was still to be sent to a server that has gone is lost, and nobody is told."""
    with suppress(OSError, TypeError):  # TypeError: asyncio's own, since Python 3.12, where a socket is gone
        await nats.close()
