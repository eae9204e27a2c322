"""Workarounds for faults of nats-py that concern all connections of the service's process, or its consumers.

Those that any connection needs are in the client's module of the same name. Tests fail when a fault is fixed upstream.
"""

import asyncio
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.protocol import parser
from natscribe.jetstream.nats_py_compat import PARSER_PATTERNS, process_encrypted_info

FLUSH_TIMEOUT_S: Final = 2  # of a subscription that is being closed

# Python 3.12.0 to 3.13.7 raise TypeError on a write to a lost connection: https://github.com/python/cpython/issues/136234
_WRITES_RAISE: Final = (3, 12) <= sys.version_info < (3, 13, 8)


def change_all_connections() -> None:
    """Apply the workarounds that no single connection can have, to all connections of this process.

    Only the service calls this, for its process is its own. FastStream creates its connection, and so does redis-py.
    The parser of nats-py gets correct patterns. Writes to a lost connection raise no TypeError, as they do in some
    versions of Python, where nats-py and redis-py expect nothing but OSError. No login is sent without the encryption
    that `tls://` requires. And all settings of consumers are read, so that the service notices a change to any of them.
    """
    vars(parser).update(PARSER_PATTERNS)
    if _WRITES_RAISE:
        asyncio.StreamWriter.writelines = _writelines  # type: ignore[assignment,method-assign]  # there is no hook
    Client._process_info = process_encrypted_info  # type: ignore[assignment,method-assign]  # noqa: SLF001 -- there is no hook
    api.ConsumerConfig = _WholeConsumerConfig  # type: ignore[misc]  # `ConsumerInfo` has no hook


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


def _writelines(writer: asyncio.StreamWriter, data: Iterable[bytes | bytearray | memoryview]) -> None:
    writer.write(b"".join(data))
