"""Counts the free slots of the workers for which there is no grant yet."""

import asyncio
import math
from time import monotonic
from typing import Final

from nats.aio.client import Client
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas.stream_names import StreamNames

from app.jetstream.slots import Slots

COUNTED_EVERY_S: Final = 1.0
UNSEEN_FOR_S: Final = 2.0  # after its publication, a grant is visible at its consumer


class FreeSlots:
    """The number of free slots of one kind for which there is no grant yet.

    A worker with a free slot leaves a pull open, and the consumer of the grants reports the number of open pulls. In
    between, each task that has ended frees a slot, and each grant takes one. So a task is granted to a slot a moment
    before its pull is open, and a count that was too high corrects itself.
    """

    def __init__(self, nats: Client, names: StreamNames, slots: Slots) -> None:
        self.count = 0  # below 0: grants wait for slots that are not free yet
        self.changed = asyncio.Event()  # there may be free slots, or tasks for them
        self._js = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._consumer = names.ready, names.slot_consumer(slots)
        self._counted_at = -math.inf
        self._unseen: list[tuple[int, float]] = []  # grants that the consumer may not show yet: sequence and time

    @property
    def is_current(self) -> bool:
        """Whether the open pulls were counted a moment ago."""
        return self._counted_at > monotonic() - COUNTED_EVERY_S

    def take(self, grant: int | None) -> None:
        """Note that a slot is taken by the grant with this stream sequence; None: by one that existed before."""
        self.count -= 1
        if grant is not None:
            self._unseen.append((grant, monotonic()))

    def recount(self) -> None:
        """Have the open pulls counted, because a worker has opened one."""
        self._counted_at = -math.inf
        self.changed.set()

    async def read(self) -> None:
        """Count the open pulls for which there is no grant.

        Raises:
            NatsError: NATS does not answer.
        """
        info, self._counted_at = await self._js.consumer_info(*self._consumer), monotonic()
        delivered, visible_at = info.delivered.stream_seq if info.delivered else 0, self._counted_at - UNSEEN_FOR_S
        self._unseen = [(grant, at) for grant, at in self._unseen if grant > delivered and at > visible_at]
        self.count = (info.num_waiting or 0) - max(info.num_pending or 0, len(self._unseen))
