"""Headers and places that cannot be read: the server passes them on, and the library hears nothing after them.

The one place where a private part of nats-py is touched: it offers no hook between the socket and its own reader.
"""

import re
from typing import Final

from nats.aio.client import Client
from nats.protocol import parser

# The library's own let a line end stand between the sizes, so that headers that begin with digits are taken for a size,
# and find no subject with a white space in it that the server allows, like a vertical tab.
_PLACE: Final = rb"[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?"
MESSAGE: Final = re.compile(rb"\AMSG" + _PLACE + rb"(\d+)\r\n")
MESSAGE_WITH_HEADERS: Final = re.compile(rb"\AHMSG" + _PLACE + rb"(\d+)[ \t]+(\d+)\r\n")


def survive(nats: Client) -> None:
    """Have a connection take headers that cannot be read for none at all; call it before anything is subscribed to."""
    parser.MSG_RE, parser.HMSG_RE = MESSAGE, MESSAGE_WITH_HEADERS
    read = nats._process_headers  # noqa: SLF001 -- see above

    async def read_or_none(headers: bytes) -> dict[str, str] | None:
        try:
            return await read(headers)
        except (IndexError, ValueError):  # no line at all, or no text
            return None

    nats._process_headers = read_or_none  # type: ignore[method-assign]  # noqa: SLF001 -- see above
