"""Pulling: one message of a lane, asked for when a slot is free."""

import json
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

ANSWER_WITHIN = 2.0  # seconds
NOTHING_WAITS = {"404", "408"}
ONE_NOW = json.dumps({"batch": 1, "no_wait": True}).encode()


class Puller:
    """Asks through an inbox of its own: a delivered message keeps its subject, so that a request would not know it."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._inbox: Subscription | None = None

    async def pull(self, next_message: str) -> Msg | None:
        """The next message of the consumer that hears this subject, None where nothing waits (NatsError)."""
        if self._inbox is None:
            self._inbox = await self._nats.subscribe(self._nats.new_inbox())
        try:
            await self._nats.publish(next_message, ONE_NOW, reply=self._inbox.subject)
            answer = await self._inbox.next_msg(timeout=ANSWER_WITHIN)
        except NatsTimeoutError:
            await self._forget_inbox()
            raise
        if answer.reply:
            return answer
        status = (answer.headers or {}).get("Status")
        if status not in NOTHING_WAITS:
            message = f"the lane's consumer answers with status {status}"
            raise NatsError(message)
        return None

    async def _forget_inbox(self) -> None:
        """Let a late answer go nowhere: the queue delivers it again after TASK_ACK_WAIT."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()
