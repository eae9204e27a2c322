"""Workarounds for faults of nats-py and Python: the package's only uses of private attributes of nats-py.

Tests fail when one of these faults is fixed upstream, or when an attribute that this module replaces is renamed.
"""

import re
import ssl
from contextlib import suppress
from types import FunctionType
from typing import Any, Final

from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport
from nats.protocol import parser

# These patterns replace those of nats-py, which have three faults: they accept a line end between two sizes as a space,
# and digits at the start of headers as a size, and they reject a vertical tab in a subject, which the server allows.
_SUBJECTS: Final = rb"[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?"
PARSER_PATTERNS: Final = {
    "MSG_RE": re.compile(rb"\AMSG" + _SUBJECTS + rb"(\d+)\r\n"),
    "HMSG_RE": re.compile(rb"\AHMSG" + _SUBJECTS + rb"(\d+)[ \t]+(\d+)\r\n"),
}

_process_info: Final = Client._process_info  # noqa: SLF001 -- see `process_encrypted_info`


def tolerate_unreadable_messages(nats: Client) -> None:
    """Make a connection treat malformed headers as missing, and ignore messages whose subjects are not UTF-8.

    The server forwards such messages, and without this workaround the first one ends the reader task of nats-py, so
    that the connection receives nothing more. Call this before the first subscription.
    """
    read = nats._process_headers  # noqa: SLF001 -- nats-py has no hook between the socket and its reader

    async def read_or_none(headers: bytes) -> dict[str, str] | None:
        try:
            return await read(headers)
        except (IndexError, ValueError):  # the headers are shorter than their first line, or not text
            return None

    nats._process_headers = read_or_none  # type: ignore[method-assign]  # noqa: SLF001 -- as above
    process = nats._process_msg  # noqa: SLF001 -- as above

    async def process_or_ignore(sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        with suppress(UnicodeDecodeError):
            await process(sid, subject, reply, data, headers)

    nats._process_msg = process_or_ignore  # type: ignore[method-assign]  # noqa: SLF001 -- as above


class _NoTlsError(ssl.SSLError):
    def __str__(self) -> str:
        return "it does not require TLS, although the address begins with tls://"


async def process_encrypted_info(nats: Client, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 -- as in nats-py
    """Process the server's first line as nats-py does, unless it promises no encryption that the address requires."""
    server = nats._current_server  # noqa: SLF001 -- nats-py has no hook between the server's first line and the login
    if initial_connection and server is not None and server.uri.scheme == "tls" and not info.get("tls_required"):
        raise _NoTlsError
    await _process_info(nats, info, initial_connection)


class SafeConnection(Client):
    """A connection that sends no login without the encryption that `tls://` requires, and survives lost writes.

    It also reads lines that the patterns of nats-py's parser do not match.
    """

    _process_info = process_encrypted_info

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is None and s.uri.scheme not in ("ws", "wss"):
            self._transport = _Transport()  # type: ignore[no-untyped-call]  # nats-py has no types here
        await super()._connect_to_server(s)


class _Parser(parser.Parser):
    # The method of nats-py, which reads its patterns from the variables of its module.
    parse = FunctionType(parser.Parser.parse.__code__, vars(parser) | PARSER_PATTERNS)


class _Transport(TcpTransport):
    def writelines(self, payload: list[bytes]) -> None:
        """Write in one piece: Python 3.12.0 to 3.13.7 raise TypeError when several are written to a lost connection.

        See https://github.com/python/cpython/issues/136234
        """
        self.write(b"".join(payload))  # type: ignore[no-untyped-call]  # as above


async def close(nats: Client) -> None:
    """Close a connection to NATS; messages that are not sent yet are lost if the server is unreachable."""
    with suppress(OSError, TypeError):  # TypeError: of a write to a lost connection, see `_Transport`
        await nats.close()
