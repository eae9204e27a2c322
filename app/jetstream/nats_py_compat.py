"""What nats-py lacks: the one module that uses private attributes of nats-py.

`tests/unit/test_nats_py_compat.py` and `tests/integration/test_hostile_headers.py` fail when nats-py or Python mends
one of these faults, and when nats-py renames what is replaced here.
"""

import asyncio
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.protocol import parser

# nats-py's own patterns take a line end between two sizes for a space, and take headers that begin with digits for a
# size. They also find no subject that contains a vertical tab, which the server allows.
_PLACE: Final = rb"[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?"
_MESSAGE: Final = re.compile(rb"\AMSG" + _PLACE + rb"(\d+)\r\n")
_MESSAGE_WITH_HEADERS: Final = re.compile(rb"\AHMSG" + _PLACE + rb"(\d+)[ \t]+(\d+)\r\n")

# Python 3.12.0 to 3.13.7 raise TypeError on a write to a lost connection: https://github.com/python/cpython/issues/136234
_WRITES_RAISE: Final = (3, 12) <= sys.version_info < (3, 13, 8)


def tolerate_unreadable_headers(nats: Client) -> None:
    """Have a connection treat malformed headers as none; call this before the first subscription.

    The server passes such headers on. nats-py ends its reader at the first of them, and receives nothing any more.
    """
    parser.MSG_RE, parser.HMSG_RE = _MESSAGE, _MESSAGE_WITH_HEADERS
    read = nats._process_headers  # noqa: SLF001 -- nats-py has no hook between the socket and its reader

    async def read_or_none(headers: bytes) -> dict[str, str] | None:
        try:
            return await read(headers)
        except (IndexError, ValueError):  # no line at all, or no text
            return None

    nats._process_headers = read_or_none  # type: ignore[method-assign]  # noqa: SLF001 -- the same


def tolerate_lost_writes() -> None:
    """Have all connections of this process ignore writes to a lost connection, as other versions of Python do.

    nats-py and redis-py expect only OSError, so the TypeError of some versions ends what writes.
    """
    if _WRITES_RAISE:
        asyncio.StreamWriter.writelines = _writelines  # type: ignore[assignment,method-assign]  # there is no hook


async def close(nats: Client) -> None:
    """Close a connection, also one whose server has gone: what was still to be sent is lost then."""
    with suppress(OSError, TypeError):  # TypeError: where `tolerate_lost_writes` was not called
        await nats.close()


def _writelines(writer: asyncio.StreamWriter, data: Iterable[bytes | bytearray | memoryview]) -> None:
    writer.write(b"".join(data))
