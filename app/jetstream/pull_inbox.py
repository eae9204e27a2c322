"""Pull messages from a JetStream consumer through one permanent inbox.

The two ways of nats-py do not fit. `request` does not receive a delivered message, because the message keeps its own
subject. `fetch` waits for all requested messages if the first message does not arrive at once.
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
from natscribe.jetstream.retries import REQUEST_TIMEOUT_S
from natscribe.jetstream.stream_pages import NO_RESPONDERS, bytes_at_once

LINGER_S: Final = 5.0  # how long a request of a feed waits for the first message
GATHER_S: Final = 0.1  # pause in which the messages of a feed's next batch gather
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
NOTHING_WAITS: Final = {"404", "408"}  # status codes: the consumer has no message to deliver
ALL_SENT: Final = "Batch Completed"  # the end of an earlier request: ignored
MADE_ANEW: Final = "Consumer Deleted"  # a restart of the projection deletes its consumers and creates them anew
BATCH_FULL: Final = "Message Size Exceeds MaxBytes"  # the next message has to wait for the next request


class PullInbox:
    """Pulls messages from one consumer, with one request at a time."""

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._answers: asyncio.Queue[Msg] = asyncio.Queue()

    async def pull(self, batch: int, *, within: float = 0.0) -> list[Msg]:
        """Return at most `batch` messages; if none is waiting, wait up to `within` seconds for messages.

        Raises:
            NatsError: NATS does not answer.
        """
        asked: dict[str, object] = {"batch": batch, "no_wait": True}
        if within:
            asked = {"batch": batch, "expires": int(within * 1e9)}  # nanoseconds
        if batch > 1:  # the server closes the connection of a client that reads more slowly than the server sends
            asked["max_bytes"] = bytes_at_once(self._nats)
        inbox = self._inbox or await self._open_inbox()
        await self._nats.publish(self._next, json.dumps(asked).encode(), reply=inbox.subject)
        found: list[Msg] = []
        try:
            while len(found) < batch:
                async with asyncio.timeout(within + REQUEST_TIMEOUT_S):
                    answer = await self._answers.get()
                if answer.reply:
                    found.append(answer)
                elif (answer.headers or {}).get("Description") != ALL_SENT:
                    _check(answer, some_found=bool(found))
                    break
        except TimeoutError as error:
            await self._forget_inbox()
            if not found:
                raise NatsTimeoutError from error
        return found

    async def _open_inbox(self) -> Subscription:
        self._answers = answers = asyncio.Queue[Msg]()

        async def receive(answer: Msg) -> None:
            answers.put_nowait(answer)

        self._inbox = await self._nats.subscribe(self._nats.new_inbox(), cb=receive)
        return self._inbox

    async def _forget_inbox(self) -> None:
        """Close the inbox, so that a late answer is ignored; JetStream delivers the messages of that answer again."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()


def _check(status: Msg, *, some_found: bool) -> None:
    headers = status.headers or {}
    code = headers.get("Status")
    if (some_found and headers.get("Description") == BATCH_FULL) or headers.get("Description") == MADE_ANEW:
        return
    if code == NO_RESPONDERS:
        raise NoRespondersError
    if code not in NOTHING_WAITS:
        message = f"the consumer answers with status {code} ({headers.get('Description')})"
        raise NatsError(message)
