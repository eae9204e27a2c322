"""Pulls messages from a JetStream consumer through one permanent inbox.

A delivered message keeps its own subject, so nats-py's `request` does not receive it. nats-py's `fetch`, once it has
waited for the first message, waits for the whole batch.
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

from app.jetstream.stream_pages import bytes_at_once

ANSWER_TIMEOUT_S: Final = 2.0  # beyond the time that the server may wait for messages
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
NOTHING_WAITS: Final = {"404", "408"}
NOBODY_THERE: Final = "503"
ALL_SENT: Final = "Batch Completed"  # of an earlier request
MADE_ANEW: Final = "Consumer Deleted"  # to restart the projection
BATCH_FULL: Final = "Message Size Exceeds MaxBytes"  # the next request gets the next messages
NANOSECONDS: Final = 1_000_000_000  # of a second


class PullInbox:
    """Pulls from one consumer, one request at a time."""

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._answers: asyncio.Queue[Msg] = asyncio.Queue()

    async def ask(self, batch: int, *, within: float = 0.0) -> list[Msg]:
        """At most `batch` messages that wait; where none does, wait `within` seconds for them.

        Raises:
            NatsError: NATS does not answer.
        """
        asked: dict[str, object] = {"batch": batch, "no_wait": True}
        if within:
            asked = {"batch": batch, "expires": int(within * NANOSECONDS)}
        if batch > 1:  # the server ends a connection that does not read as fast as it sends
            asked["max_bytes"] = bytes_at_once(self._nats)
        inbox = self._inbox or await self._open_inbox()
        await self._nats.publish(self._next, json.dumps(asked).encode(), reply=inbox.subject)
        found: list[Msg] = []
        try:
            while len(found) < batch:
                async with asyncio.timeout(within + ANSWER_TIMEOUT_S):
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
        """Ignore an answer that comes too late: its messages are delivered again."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()


def _check(status: Msg, *, some_found: bool) -> None:
    headers = status.headers or {}
    code = headers.get("Status")
    if (some_found and headers.get("Description") == BATCH_FULL) or headers.get("Description") == MADE_ANEW:
        return
    if code == NOBODY_THERE:
        raise NoRespondersError
    if code not in NOTHING_WAITS:
        message = f"the consumer answers with status {code} ({headers.get('Description')})"
        raise NatsError(message)
