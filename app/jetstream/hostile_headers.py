"""Headers that cannot be read: the server passes them on, and the library would hear nothing more after them.

The one place where a private part of nats-py is touched: it offers no hook between the socket and its own reader.
"""

import re
from typing import Final

from nats.aio.client import Client
from nats.protocol import parser

# The library's own lets a line end stand between the sizes: headers that begin with digits are taken for a size then.
ONE_LINE: Final = re.compile(rb"\AHMSG[ \t]+([^\s]+)[ \t]+([^\s]+)[ \t]+(([^\s]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n")


def survive(nats: Client) -> None:
    """Have a connection take headers that cannot be read for none at all; call it before anything is subscribed to."""
    parser.HMSG_RE = ONE_LINE
    read = nats._process_headers  # noqa: SLF001 -- see above

    async def read_or_none(headers: bytes) -> dict[str, str] | None:
        try:
            return await read(headers)
        except (IndexError, ValueError):  # no line at all, or no text
            return None

    nats._process_headers = read_or_none  # type: ignore[method-assign]  # noqa: SLF001 -- see above
