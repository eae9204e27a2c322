"""Pulling from a consumer: what it holds, asked for through an inbox of our own.

A delivered message keeps its subject, so that a request would not know its answer; and the library's `fetch` waits
for a whole batch once it has waited for the first message of it.
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

ANSWER_TIMEOUT_S: Final = 2.0  # beyond those that an answer may take
NEXT: Final = "$JS.API.CONSUMER.MSG.NEXT"
NOTHING_WAITS: Final = {"404", "408"}
NOBODY_THERE: Final = "503"  # what comes with it the library takes for its description
ALL_SENT: Final = "Batch Completed"  # of an earlier question: nobody waits for it
MADE_ANEW: Final = "Consumer Deleted"  # by a watch that has others catch up
MORE_THAN_ASKED_FOR: Final = "Message Size Exceeds MaxBytes"  # with what follows: it is asked for the next time
NANOSECONDS: Final = 1_000_000_000  # nanoseconds


class PullInbox:
    """Asks one consumer, one question at a time."""

    def __init__(self, nats: Client, stream: str, consumer: str) -> None:
        self._nats = nats
        self._next = f"{NEXT}.{stream}.{consumer}"
        self._inbox: Subscription | None = None
        self._answers: asyncio.Queue[Msg] = asyncio.Queue()

    async def ask(self, batch: int, *, within: float = 0.0) -> list[Msg]:
        """At most so many messages that wait; where `within` is given, seconds to wait for them all (NatsError)."""
        asked: dict[str, object] = {"batch": batch, "no_wait": True}
        if within:
            asked = {"batch": batch, "expires": int(within * NANOSECONDS)}
        if batch > 1:  # a server ends the connection of who does not read as fast as it sends
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

        async def hear(answer: Msg) -> None:
            answers.put_nowait(answer)

        self._inbox = await self._nats.subscribe(self._nats.new_inbox(), cb=hear)
        return self._inbox

    async def _forget_inbox(self) -> None:
        """Let a late answer go nowhere: what was in it is delivered again."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()


def _check(status: Msg, *, some_found: bool) -> None:
    headers = status.headers or {}
    code = headers.get("Status")
    if (some_found and headers.get("Description") == MORE_THAN_ASKED_FOR) or headers.get("Description") == MADE_ANEW:
        return
    if code == NOBODY_THERE:
        raise NoRespondersError
    if code not in NOTHING_WAITS:
        message = f"the consumer answers with status {code} ({headers.get('Description')})"
        raise NatsError(message)
