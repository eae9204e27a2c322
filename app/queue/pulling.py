"""Pulling: the next message of a lane, the shortest of the first few where that is wanted."""

import math
from contextlib import suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from app.jetstream.pull_inbox import ANSWER_WITHIN, PullInbox
from app.queue.stored_message import StoredMessage

GIVE_BACK = b"-NAK"


class Puller:
    """Asks one lane.

    With a `lookahead` above one it is sent so many messages, keeps that of the shortest recording and gives the others
    back before any work begins. One that was sent as often as that already is kept before any other, so
    that none is passed over more often, however short those are that come after it.
    """

    def __init__(self, nats: Client, stream: str, consumer: str, lookahead: int = 1) -> None:
        self._nats = nats
        self._inbox = PullInbox(nats, stream, consumer)
        self._lookahead = lookahead

    async def pull(self) -> Msg | None:
        """The next message of the lane, null where none waits there (NatsError)."""
        held = await self._inbox.ask(self._lookahead)
        if len(held) <= 1:
            return next(iter(held), None)
        chosen = min(held, key=self._rank)
        await self._give_back([message for message in held if message is not chosen])
        return chosen

    def _rank(self, message: Msg) -> tuple[bool, float, int]:
        """What goes first is least: passed over often enough, or else short; then what was published earlier."""
        stored = StoredMessage.delivered(message)
        patient = (message.metadata.num_delivered or 1) <= self._lookahead
        unknown = math.inf  # whoever wants to go first says how long it takes
        return patient, (stored.audio_seconds or unknown) if patient else 0, stored.sequence

    async def _give_back(self, held: list[Msg]) -> None:
        """In their order, and known to be there for others when this returns."""
        with suppress(NatsError):  # they are delivered again after TASK_ACK_WAIT
            for message in held[:-1]:
                await self._nats.publish(message.reply, GIVE_BACK)
            for message in held[-1:]:
                await self._nats.request(message.reply, GIVE_BACK, timeout=ANSWER_WITHIN)
