"""The lanes of the queue: who is served before whom."""

import asyncio

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from handlers.channels import StreamNames
from schemas.wire import Kind, Priority


class WaitingTasks:
    """Counts the tasks that no worker has asked for yet."""

    def __init__(self, js: JetStreamContext, names: StreamNames) -> None:
        self._js = js
        self._names = names

    async def position(self, subject: str) -> int | None:
        """At the latest how soon the newest task of a lane is served, 1: next; None where that cannot be told."""
        priorities = tuple(Priority)
        ahead = priorities[: priorities.index(Priority(subject.rpartition(".")[2])) + 1]
        try:
            counts = await asyncio.gather(*(self._waiting(kind, priority) for priority in ahead for kind in Kind))
        except NatsError:
            return None
        return max(sum(counts), 1)

    async def holds(self, sequence: int) -> bool:
        """Whether the task stream still has a message: settled ones are gone."""
        try:
            await self._js.get_msg(self._names.tasks, sequence, direct=True)
        except NotFoundError:
            return False
        return True

    async def _waiting(self, kind: Kind, priority: Priority) -> int:
        info = await self._js.consumer_info(self._names.tasks, self._names.lane(kind, priority))
        return info.num_pending or 0
