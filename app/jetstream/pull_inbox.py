"""Pulls messages from a JetStream consumer through one permanent inbox.

The two methods of nats-py do not fit: `request` does not receive a delivered message, because the message retains its
own subject, and `fetch` waits for all requested messages if the first message does not arrive at once.
"""

import asyncio
import json
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.jetstream.stream_pages import NO_RESPONDERS, max_batch_bytes

LINGER_S: Final = 60.0  # how long a request waits for a first message
GATHER_S: Final = 0.1  # pause between two batches, in which messages gather
RECONNECTION_CHECK_S: Final = 1.0  # interval between two checks whether the client has reconnected
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
RELEASE: Final = b"-NAK"  # JetStream's negative acknowledgement: redeliver this message
HEARTBEAT: Final = "100"  # status code: the request is still waiting
NOTHING_WAITS: Final = {"404", "408"}  # status codes: the consumer has no message to deliver
ALL_SENT: Final = "Batch Completed"  # the end of an earlier request: ignored
# The request has ended without a message: a restart of the projection recreates its consumers, and a new leader reports
# the requests that waited at the previous leader.
DROPPED: Final = {"Consumer Deleted", "Leadership Change"}
BATCH_FULL: Final = "Message Size Exceeds MaxBytes"  # the next message has to wait for the next request


class PullInbox:
    """Pulls messages from one consumer, with one request at a time.

    A message that arrives after its request was given up is used for the next request, or else released at once: an
    inbox without a subscription would lose the message until the consumer's `ack_wait` has passed.
    """

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._replies: asyncio.Queue[Msg] = asyncio.Queue()
        self._pulling = False

    async def pull(self, batch: int, *, within: float = 0.0) -> list[Msg]:
        """Return at most `batch` messages; if none is waiting, wait up to `within` seconds for messages.

        Meanwhile, the server sends a heartbeat after each quarter of this time.

        Raises:
            NatsError: NATS does not answer, or the client has reconnected, so that the request may be lost.
        """
        request: dict[str, object] = {"batch": batch, "no_wait": True}
        if within:
            expires = int(within * 1e9)  # nanoseconds
            request = {"batch": batch, "expires": expires, "idle_heartbeat": expires // 4}
        if batch > 1:  # the server closes the connection of a client that reads more slowly than the server sends
            request["max_bytes"] = max_batch_bytes(self._nats)
        messages: list[Msg] = []
        self._pulling = True
        try:
            await self._gather(messages, request, silence_s=within / 3 + REQUEST_TIMEOUT_S)
        except TimeoutError as error:
            if not messages:
                raise NatsTimeoutError from error
        except asyncio.CancelledError:
            for message in messages:
                self._replies.put_nowait(message)
            raise
        finally:
            self._pulling = False
            while not self._replies.empty():
                await self._receive(self._replies.get_nowait())
        return messages

    async def _gather(self, messages: list[Msg], request: dict[str, object], *, silence_s: float) -> None:
        """Send a request, and add its messages to `messages`.

        Raises:
            TimeoutError: The server has sent nothing for `silence_s`, or the client has reconnected.
            NatsError: NATS does not answer.
        """
        inbox = self._inbox = self._inbox or await self._nats.subscribe(self._nats.new_inbox(), cb=self._receive)
        reconnects = self._nats.stats["reconnects"]
        await self._nats.publish(self._next, json.dumps(request).encode(), reply=inbox.subject)
        while len(messages) < int(str(request["batch"])):
            reply = await self._reply(silence_s, reconnects)
            headers = reply.headers or {}
            if reply.reply:
                messages.append(reply)
            elif headers.get("Status") != HEARTBEAT and headers.get("Description") != ALL_SENT:
                _check(reply, is_first=not messages)
                return

    async def _reply(self, silence_s: float, reconnects: int) -> Msg:
        """Return the next reply of the server.

        Raises:
            TimeoutError: The server has sent nothing for `silence_s`, or the client has reconnected more than
                `reconnects` times.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + silence_s
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + RECONNECTION_CHECK_S)):
                    return await self._replies.get()
            except TimeoutError:
                if loop.time() >= deadline or self._nats.stats["reconnects"] > reconnects:
                    raise

    async def _receive(self, reply: Msg) -> None:
        if self._pulling:
            self._replies.put_nowait(reply)
        elif reply.reply:
            await self._nats.publish(reply.reply, RELEASE)


def _check(status: Msg, *, is_first: bool) -> None:
    headers = status.headers or {}
    code, description = headers.get("Status"), headers.get("Description")
    if (not is_first and description == BATCH_FULL) or description in DROPPED:
        return
    if code == NO_RESPONDERS:
        raise NoRespondersError
    if code not in NOTHING_WAITS:
        message = f"the consumer replies with status {code} ({description})"
        raise NatsError(message)
