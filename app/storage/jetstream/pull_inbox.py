"""Pulls messages from a JetStream consumer, and receives all replies in one inbox that stays subscribed.

The two methods of nats-py do not fit: `request` does not receive a delivered message, because the message has its own
subject, and `fetch` waits for all requested messages if the first message does not arrive at once.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
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

LINGER_S: Final = 60.0  # how long a request waits for a first message
SILENCE_S: Final = 0.005  # without a reply
GATHER_S: Final = 0.1  # pause between two batches, in which messages gather
RECONNECTION_CHECK_S: Final = 1.0  # interval between two checks whether the client has reconnected
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
RELEASE: Final = b"-NAK"  # JetStream's negative acknowledgement: redeliver this message
HEARTBEAT: Final = "100"  # status code: the request is still waiting
NOTHING_WAITS: Final = {"404", "408"}  # status codes: the consumer has no message to deliver
ALL_SENT: Final = "Batch Completed"  # the end of an earlier request: ignored
RECREATED: Final = "Consumer Deleted"  # a restart of the projection deletes and recreates its consumers
BATCH_FULL: Final = "Message Size Exceeds MaxBytes"  # the next message has to wait for the next request


class PullInbox:
    """Pulls messages from one consumer, with one pull request at a time.

    A message that arrives after its request was cancelled is used for the next request, or else returned to JetStream
    at once. If each request had its own inbox, the message would be lost until the consumer's `ack_wait` has passed.
    """

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._replies: asyncio.Queue[Msg] = asyncio.Queue()
        self._pulling = False
        self._reconnects = 0  # of the client, when the latest request was sent

    async def pull(
        self, batch: int, *, within: float = 0.0, after_silence: Callable[[], Awaitable[None]] | None = None
    ) -> list[Msg]:
        """Return up to `batch` messages of the consumer; while it has fewer, wait up to `within` seconds for more.

        During the wait, the server sends a heartbeat after each quarter of `within`. `after_silence`: called once if
        the server sends nothing within SILENCE_S.

        Raises:
            NatsError: NATS does not answer, or the request was lost because the client has reconnected, or because the
                consumer has a new leader.
        """
        messages: list[Msg] = []
        self._pulling = True
        try:
            await self._request(batch, within)
            if after_silence is not None and await self._is_silent():
                await after_silence()
            while len(messages) < batch:
                reply = await self._reply(within / 3 + REQUEST_TIMEOUT_S)
                if reply.reply:
                    messages.append(reply)
                elif _is_final(reply, is_first=not messages):
                    break
        except TimeoutError as error:
            if not messages:
                raise NatsTimeoutError from error
        finally:
            self._pulling = False
            while not self._replies.empty():
                await self._receive(self._replies.get_nowait())
        return messages

    async def _is_silent(self) -> bool:
        """Wait up to SILENCE_S for a reply of the server, and return whether none has arrived.

        A reply that arrives is kept for `_reply`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(SILENCE_S):
                self._replies.put_nowait(await self._replies.get())
        return self._replies.empty()

    async def _request(self, batch: int, within: float) -> None:
        nanoseconds = int(within * 1e9)
        wait = {"expires": nanoseconds, "idle_heartbeat": nanoseconds // 4} if within else {"no_wait": True}
        # The server closes the connection of a client that reads more slowly than the server sends.
        limit = {"max_bytes": max_batch_bytes(self._nats)} if batch > 1 else {}
        request = json.dumps({"batch": batch} | wait | limit).encode()
        inbox = self._inbox = self._inbox or await self._nats.subscribe(self._nats.new_inbox(), cb=self._receive)
        self._reconnects = self._nats.stats["reconnects"]
        await self._nats.publish(self._next, request, reply=inbox.subject)

    async def _reply(self, silence_s: float) -> Msg:
        """Return the server's next reply to the pull request: a message, a heartbeat or the end of the request.

        Raises:
            TimeoutError: The server has sent nothing for `silence_s`, or the client has reconnected since the request.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + silence_s
        while True:
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + RECONNECTION_CHECK_S)):
                    return await self._replies.get()
            except TimeoutError:
                if loop.time() >= deadline or self._nats.stats["reconnects"] > self._reconnects:
                    raise

    async def _receive(self, reply: Msg) -> None:
        if self._pulling:
            self._replies.put_nowait(reply)
        elif reply.reply:
            await self._nats.publish(reply.reply, RELEASE)


def _is_final(status: Msg, *, is_first: bool) -> bool:
    """Return whether a status message of the server ends the pull request; if not, more messages can follow.

    `is_first`: whether the server has not sent any message for this request before.

    Raises:
        NatsError: The request has failed.
    """
    headers = status.headers or {}
    code, description = headers.get("Status"), headers.get("Description")
    if code == HEARTBEAT or description == ALL_SENT:
        return False
    if code == NO_RESPONDERS:
        raise NoRespondersError
    if code in NOTHING_WAITS or description == RECREATED or (description == BATCH_FULL and not is_first):
        return True
    message = f"the consumer replies with status {code} ({description})"
    raise NatsError(message)
