"""The lanes of the queue: who is served before whom."""

import asyncio
from contextlib import suppress

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from app.entry import Entry
from app.stored_message import StoredMessage
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

    async def held(self, sequence: int) -> StoredMessage | None:
        """The message that the task stream holds there, None where it is settled."""
        try:
            return StoredMessage.fetched(await self._js.get_msg(self._names.tasks, sequence, direct=True))
        except NotFoundError:
            return None

    async def take(self, entry: Entry) -> None:
        """Take the message that an entry's log was opened for from the queue, if it is still there."""
        held = await self.held(entry.facts.task_sequence)
        if held is not None and held.owns(entry):  # a stream that was made anew counts from 1 again
            with suppress(APIError):  # its worker was faster: to delete what is gone is an error of the server's
                await self._js.delete_msg(self._names.tasks, held.sequence)

    async def _waiting(self, kind: Kind, priority: Priority) -> int:
        info = await self._js.consumer_info(self._names.tasks, self._names.lane(kind, priority))
        return info.num_pending or 0
