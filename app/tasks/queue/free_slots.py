"""Counts the free slots of all workers (room for one running task each) that have not been granted to a task."""

import asyncio
import math
from time import monotonic
from typing import Final

from nats.aio.client import Client
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas.stream_names import StreamNames

from app.storage.jetstream.slots import SlotPool

COUNTED_EVERY_S: Final = 1.0
UNSEEN_FOR_S: Final = 2.0  # after its publication, a grant is visible at its consumer


class FreeSlots:
    """Counts the free slots of one pool (recordings or live tasks) that have not been granted to a task.

    A free slot has an open pull request, and JetStream reports how many requests are open: `read` takes the count from
    that number alone. Between two reads, each task that ends raises the count by 1, because its slot is about to open a
    request, and each grant lowers it by 1.
    """

    def __init__(self, nats: Client, names: StreamNames, pool: SlotPool) -> None:
        self.count = 0  # below 0: grants wait for slots that are not free yet
        self.changed = asyncio.Event()  # there may be free slots, or tasks for them
        self._js = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._consumer = names.ready, names.slot_consumer(pool)
        self._counted_at = -math.inf
        self._unseen: list[tuple[int, float]] = []  # grants that the consumer may not show yet: sequence and time

    @property
    def is_current(self) -> bool:
        """Whether the open pull requests were counted less than COUNTED_EVERY_S seconds ago."""
        return self._counted_at > monotonic() - COUNTED_EVERY_S

    def take(self, grant: int | None) -> None:
        """Lower the count by 1, because a task was granted.

        `grant`: the stream sequence of the grant; None: the task already had a grant, so none was published, but the
        count is lowered nevertheless.
        """
        self.count -= 1
        if grant is not None:
            self._unseen.append((grant, monotonic()))

    async def read(self) -> None:
        """Set `count` to the number of open pull requests (free slots), minus the grants not yet delivered to them.

        Raises:
            NatsError: NATS does not answer.
        """
        info, self._counted_at = await self._js.consumer_info(*self._consumer), monotonic()
        delivered, visible_at = info.delivered.stream_seq if info.delivered else 0, self._counted_at - UNSEEN_FOR_S
        self._unseen = [(grant, at) for grant, at in self._unseen if grant > delivered and at > visible_at]
        self.count = (info.num_waiting or 0) - max(info.num_pending or 0, len(self._unseen))
