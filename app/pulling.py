"""Pulling: one message of a lane, asked for when a slot is free; the shortest of the first few where that is wanted."""

import json
import math
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

from app.stored_message import StoredMessage

ANSWER_WITHIN = 2.0  # seconds
GIVE_BACK = b"-NAK"
NOTHING_WAITS = {"404", "408"}


class Puller:
    """Asks through an inbox of its own: a delivered message keeps its subject, so that a request would not know it.

    With `lookahead` above 1 it is sent so many messages, keeps that of the shortest recording and gives the others back
    before any work begins. One that was sent as often as that already is kept before any other, so that none is passed
    over more often, however short those are that come after it.
    """

    def __init__(self, nats: Client, lookahead: int = 1) -> None:
        self._nats = nats
        self._lookahead = lookahead
        self._request = json.dumps({"batch": lookahead, "no_wait": True}).encode()
        self._inbox: Subscription | None = None

    async def pull(self, next_message: str) -> Msg | None:
        """A message of the consumer that hears this subject, None where nothing waits (NatsError)."""
        held = await self._ask(next_message)
        if len(held) <= 1:
            return held[0] if held else None
        chosen = min(held, key=self._rank)
        await self._give_back([message for message in held if message is not chosen])
        return chosen

    def _rank(self, message: Msg) -> tuple[bool, float, int]:
        """What goes first is least: passed over often enough, or else short; then what was published earlier."""
        stored = StoredMessage.delivered(message)
        patient = (message.metadata.num_delivered or 1) <= self._lookahead
        unknown = math.inf  # whoever wants to go first says how long it takes
        return patient, (stored.audio_seconds or unknown) if patient else 0, stored.sequence

    async def _ask(self, next_message: str) -> list[Msg]:
        if self._inbox is None:
            self._inbox = await self._nats.subscribe(self._nats.new_inbox())
        held: list[Msg] = []
        try:
            await self._nats.publish(next_message, self._request, reply=self._inbox.subject)
            while len(held) < self._lookahead:
                answer = await self._inbox.next_msg(timeout=ANSWER_WITHIN)
                if not answer.reply:  # a status ends the answer
                    _check(answer)
                    break
                held.append(answer)
        except NatsTimeoutError:
            await self._forget_inbox()
            if not held:
                raise
        return held

    async def _give_back(self, held: list[Msg]) -> None:
        """In their order, and known to be there for others when this returns."""
        with suppress(NatsError):  # they are delivered again after TASK_ACK_WAIT
            for message in held[:-1]:
                await self._nats.publish(message.reply, GIVE_BACK)
            for message in held[-1:]:
                await self._nats.request(message.reply, GIVE_BACK, timeout=ANSWER_WITHIN)

    async def _forget_inbox(self) -> None:
        """Let a late answer go nowhere: the queue delivers it again after TASK_ACK_WAIT."""
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            with suppress(NatsError):
                await inbox.unsubscribe()


def _check(answer: Msg) -> None:
    status = (answer.headers or {}).get("Status")
    if status not in NOTHING_WAITS:
        message = f"the lane's consumer answers with status {status}"
        raise NatsError(message)
