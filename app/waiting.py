"""Tasks that wait: how many are before one, and when it begins, as far as one can tell."""

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import APIError

from app.entry import Entry
from app.lanes import LaneReader, Queue
from app.precedence import position
from app.stored_message import StoredMessage
from app.stream_pages import one, page
from handlers.channels import StreamNames

REMEMBERED_FOR = 1.0  # seconds: how the other lanes stand


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting task stands: 1 is the next; null: nobody knows when it begins."""

    position: int
    expected_start: datetime | None

    @classmethod
    def at_once(cls) -> "Place":
        """Of a task that a worker has in its hands."""
        return cls(1, datetime.now(UTC))


class WaitingTasks:
    """Tells places, and takes messages from the queue; `idle` says whether this worker has nothing to do."""

    def __init__(self, nats: Client, names: StreamNames, lanes: LaneReader, *, idle: Callable[[], bool]) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self._lanes = lanes
        self._idle = idle
        self._queue: Queue | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def place(self, message: StoredMessage) -> Place | None:
        """Where the task of a message stands by what waits now; None where that cannot be told."""
        return (await self.places([message]))[0]

    async def places(self, messages: Sequence[StoredMessage]) -> list[Place | None]:
        """Where the tasks of messages stand by what waits now; None where that cannot be told."""
        keys = {(message.kind, message.priority) for message in messages}
        try:
            infos = dict(zip(keys, await asyncio.gather(*(self._lanes.consumer(*key) for key in keys)), strict=True))
            queue = await self._remembered()
        except NatsError:
            return [None] * len(messages)
        waiting = {key: lane.waiting for key, lane in queue.lanes.items()}
        found: list[Place | None] = []
        for message in messages:
            lane = message.kind, message.priority
            turn = _turn(message, infos[lane], queue.lanes[lane].again)
            found.append(Place.at_once() if turn is None else self._expected(position(waiting, *lane, turn)))
        return found

    async def held(self, subject: str, sequence: int) -> StoredMessage | None:
        """The message that the task stream holds there, None where it is settled (NatsError)."""
        found = await one(self._nats, self._names.tasks, subject, sequence)
        return None if found is None else StoredMessage.fetched(found)

    async def held_of(self, subject: str, sequences: Collection[int]) -> list[StoredMessage]:
        """Those of the messages of one lane that the task stream holds (NatsError)."""
        found: list[StoredMessage] = []
        wanted = sorted(sequences)
        while wanted:
            messages = await page(self._nats, self._names.tasks, subject, start=wanted[0], count=len(wanted))
            if not messages:
                break
            found += [StoredMessage.fetched(message) for message in messages if message.seq in sequences]
            wanted = [sequence for sequence in wanted if sequence > (messages[-1].seq or 0)]
        return found

    async def take(self, entry: Entry) -> None:
        """Take the message that an entry's log was opened for from the queue, if it is still there."""
        held = await self.held(entry.facts.subject, entry.facts.task_sequence)
        if held is not None and held.owns(entry):  # a stream that was made anew counts from 1 again
            with suppress(APIError):  # its worker was faster: to delete what is gone is an error of the server's
                await self._js.delete_msg(self._names.tasks, held.sequence)

    def _expected(self, at: int) -> Place:
        if at == 1 and self._idle():
            return Place.at_once()
        seconds = self._lanes.flow.until(at)
        return Place(at, None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds))

    async def _remembered(self) -> Queue:
        async with self._reading:
            if self._queue is None or time.monotonic() - self._read_at > REMEMBERED_FOR:
                self._queue, self._read_at = await self._lanes.read(sample=0), time.monotonic()
            return self._queue


def _turn(message: StoredMessage, lane: ConsumerInfo, again: Collection[StoredMessage]) -> int | None:
    """The how manieth of its lane a message is, None where a worker has it in its hands."""
    sequence = message.sequence
    if sequence > (lane.delivered.stream_seq if lane.delivered else 0):
        return max((lane.num_pending or 0) - (message.behind or 0), 1) + len(again)
    if not any(other.sequence == sequence for other in again):
        return None
    return 1 + sum(other.sequence < sequence for other in again)
