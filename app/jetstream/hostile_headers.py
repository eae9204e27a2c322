"""Headers that cannot be read: the server passes them on, and the library would hear nothing more after them.

The one place where a private part of nats-py is touched: it offers no hook between the socket and its own reader.
"""

from nats.aio.client import Client


def survive(nats: Client) -> None:
    """Have a connection take headers that cannot be read for none at all; call it before anything is subscribed to."""
    read = nats._process_headers  # noqa: SLF001 -- see above

    async def read_or_none(headers: bytes) -> dict[str, str] | None:
        try:
            return await read(headers)
        except (IndexError, ValueError):  # no line at all, or no text
            return None

    nats._process_headers = read_or_none  # type: ignore[method-assign]  # noqa: SLF001 -- see above
