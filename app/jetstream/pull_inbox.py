"""Pulls messages from a JetStream consumer through one permanent inbox.

The two methods of nats-py do not fit: `request` does not receive a delivered message, because the message retains its
own subject, and `fetch` waits for all requested messages if the first message does not arrive at once.
"""

import asyncio
import json
from contextlib import suppress
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.jetstream.stream_pages import NO_RESPONDERS, max_batch_bytes

LINGER_S: Final = 5.0  # how long a request waits for a first message
GATHER_S: Final = 0.1  # pause between two batches, in which messages gather
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
NOTHING_WAITS: Final = {"404", "408"}  # status codes: the consumer has no message to deliver
ALL_SENT: Final = "Batch Completed"  # the end of an earlier request: ignored
RECREATED: Final = "Consumer Deleted"  # a restart of the projection deletes and recreates its consumers
BATCH_FULL: Final = "Message Size Exceeds MaxBytes"  # the next message has to wait for the next request


class PullInbox:
    """Pulls messages from one consumer, with one request at a time."""

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._replies: asyncio.Queue[Msg] = asyncio.Queue()

    async def pull(self, batch: int, *, within: float = 0.0) -> list[Msg]:
        """Return at most `batch` messages; if none is waiting, wait up to `within` seconds for messages.

        Raises:
            NatsError: NATS does not answer.
        """
        request: dict[str, object] = {"batch": batch, "no_wait": True}
        if within:
            request = {"batch": batch, "expires": int(within * 1e9)}  # nanoseconds
        if batch > 1:  # the server closes the connection of a client that reads more slowly than the server sends
            request["max_bytes"] = max_batch_bytes(self._nats)
        inbox = self._inbox or await self._open_inbox()
        await self._nats.publish(self._next, json.dumps(request).encode(), reply=inbox.subject)
        messages: list[Msg] = []
        try:
            while len(messages) < batch:
                async with asyncio.timeout(within + REQUEST_TIMEOUT_S):
                    reply = await self._replies.get()
                if reply.reply:
                    messages.append(reply)
                elif (reply.headers or {}).get("Description") != ALL_SENT:
                    _check(reply, is_first=not messages)
                    break
        except TimeoutError as error:
            await self._close_inbox()
            if not messages:
                raise NatsTimeoutError from error
        return messages

    async def _open_inbox(self) -> Subscription:
        self._replies = replies = asyncio.Queue[Msg]()

        async def receive(reply: Msg) -> None:
            replies.put_nowait(reply)

        self._inbox = await self._nats.subscribe(self._nats.new_inbox(), cb=receive)
        return self._inbox

    async def _close_inbox(self) -> None:
        """Close the inbox, so that a late reply is ignored; JetStream delivers its messages again."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()


def _check(status: Msg, *, is_first: bool) -> None:
    headers = status.headers or {}
    code = headers.get("Status")
    if (not is_first and headers.get("Description") == BATCH_FULL) or headers.get("Description") == RECREATED:
        return
    if code == NO_RESPONDERS:
        raise NoRespondersError
    if code not in NOTHING_WAITS:
        message = f"the consumer replies with status {code} ({headers.get('Description')})"
        raise NatsError(message)
