"""Workarounds for faults of nats-py and Python: the only module that uses private attributes of nats-py.

Tests fail when one of these faults is fixed upstream, or when an attribute that this module replaces is renamed.
"""

import asyncio
import re
import ssl
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Final

from nats.aio.client import Client, Srv
from nats.aio.transport import TcpTransport
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.protocol import parser

# These patterns replace those of nats-py, which have three faults: they accept a line end between two sizes as a space,
# and digits at the start of headers as a size, and they reject a vertical tab in a subject, which the server allows.
_SUBJECTS: Final = rb"[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?"
_PATTERNS: Final = {
    "MSG_RE": re.compile(rb"\AMSG" + _SUBJECTS + rb"(\d+)\r\n"),
    "HMSG_RE": re.compile(rb"\AHMSG" + _SUBJECTS + rb"(\d+)[ \t]+(\d+)\r\n"),
}

FLUSH_TIMEOUT_S: Final = 2  # of a subscription that is being closed

_process_info: Final = Client._process_info  # noqa: SLF001 -- see `change_all_connections`

# Python 3.12.0 to 3.13.7 raise TypeError on a write to a lost connection: https://github.com/python/cpython/issues/136234
_WRITES_RAISE: Final = (3, 12) <= sys.version_info < (3, 13, 8)


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


class SafeConnection(Client):
    """A connection that sends no login without the encryption that `tls://` requires, and survives lost writes.

    It also reads lines that the patterns of nats-py's parser do not match.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)

    async def _connect_to_server(self, s: Srv) -> None:
        if self._transport is None and s.uri.scheme not in ("ws", "wss"):
            self._transport = _Transport()  # type: ignore[no-untyped-call]  # nats-py has no types here
        await super()._connect_to_server(s)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 -- as in nats-py
        _check_encryption(self, info, initial_connection=initial_connection)
        await super()._process_info(info, initial_connection)


class _Parser(parser.Parser):
    # The method of nats-py, which reads its patterns from the variables of its module.
    parse = FunctionType(parser.Parser.parse.__code__, vars(parser) | _PATTERNS)


class _Transport(TcpTransport):
    def writelines(self, payload: list[bytes]) -> None:
        """Write as `_writelines` does, because of the same fault of Python."""
        self.write(b"".join(payload))  # type: ignore[no-untyped-call]  # as above


def change_all_connections() -> None:
    """Apply the workarounds that no single connection can have, to all connections of this process.

    Only the service calls this, for its process is its own. FastStream creates its connection, and so does redis-py.
    The parser of nats-py gets correct patterns. Writes to a lost connection raise no TypeError, as they do in some
    versions of Python, where nats-py and redis-py expect nothing but OSError. No login is sent without the encryption
    that `tls://` requires. And all settings of consumers are read, so that the service notices a change to any of them.
    """
    vars(parser).update(_PATTERNS)
    if _WRITES_RAISE:
        asyncio.StreamWriter.writelines = _writelines  # type: ignore[assignment,method-assign]  # there is no hook
    Client._process_info = _process_encrypted_info  # type: ignore[assignment,method-assign]  # noqa: SLF001 -- there is no hook
    api.ConsumerConfig = _WholeConsumerConfig  # type: ignore[misc]  # `ConsumerInfo` has no hook


class _NoTlsError(ssl.SSLError):
    def __str__(self) -> str:
        return "it does not require TLS, although the address begins with tls://"


async def _process_encrypted_info(nats: Client, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 -- as in nats-py
    _check_encryption(nats, info, initial_connection=initial_connection)
    await _process_info(nats, info, initial_connection)


def _check_encryption(nats: Client, info: dict[str, Any], *, initial_connection: bool) -> None:
    server = nats._current_server  # noqa: SLF001 -- nats-py has no hook between the server's first line and the login
    if initial_connection and server is not None and server.uri.scheme == "tls" and not info.get("tls_required"):
        raise _NoTlsError


def send_pings_in_order(nats: Client) -> None:
    """Make a connection send a PING after everything that was published or unsubscribed before.

    nats-py sends the PING first. Then the PONG arrives too early for `flush` and `drain`: a message that the server
    delivers between the PONG and the end of a subscription is lost.
    """
    send_ping = nats._send_ping  # noqa: SLF001 -- nats-py has no hook before a PING

    async def send_after_pending(future: asyncio.Future[bool] | None = None) -> None:
        if nats.is_connected and nats._transport is not None:  # noqa: SLF001 -- as above
            pending, nats._pending, nats._pending_data_size = nats._pending, [], 0  # noqa: SLF001 -- as above
            nats._transport.writelines(pending)  # noqa: SLF001 -- as above
        await send_ping(future)

    nats._send_ping = send_after_pending  # type: ignore[method-assign]  # noqa: SLF001 -- as above


@dataclass
class _WholeConsumerConfig(api.ConsumerConfig):
    """A consumer's configuration with the settings of nats-server that nats-py ignores."""

    max_batch: int | None = None
    max_bytes: int | None = None
    max_expires: int | None = None  # nanoseconds
    priority_groups: list[str] | None = None
    priority_policy: str | None = None
    priority_timeout: int | None = None  # nanoseconds


async def end_delivery(subscription: JetStreamContext.PullSubscription) -> None:
    """Have the server send nothing more to a pull subscription, and wait until all that it has sent is here.

    nats-py's own `unsubscribe` discards a message that is on its way, so that JetStream delivers it again only after
    the consumer's `ack_wait`.
    """
    inner = subscription._sub  # noqa: SLF001 -- nats-py cannot drain a pull subscription
    with suppress(NatsError, TimeoutError):
        await inner._conn._send_unsubscribe(inner._id)  # noqa: SLF001 -- the client goes on receiving
        await inner._conn.flush(FLUSH_TIMEOUT_S)  # noqa: SLF001 -- a round trip


async def close(nats: Client) -> None:
    """Close a connection to NATS; messages that are not sent yet are lost if the server is unreachable."""
    with suppress(OSError, TypeError):  # TypeError: of a write to a lost connection, see `_WRITES_RAISE`
        await nats.close()


def _writelines(writer: asyncio.StreamWriter, data: Iterable[bytes | bytearray | memoryview]) -> None:
    writer.write(b"".join(data))
