"""Tasks that wait: how many are before one, and when it begins, as far as one can tell."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import APIError

from app.jetstream.stream_pages import one, page
from app.log.entry import Entry
from app.queue.lanes import LaneReader, Queue
from app.queue.precedence import position
from app.queue.stored_message import StoredMessage
from schemas import subjects
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

LANES: Final = {subjects.tasks(kind, priority): (kind, priority) for kind in Kind for priority in Priority}
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

    async def find(self, subject: str, sequences: Collection[int]) -> list[tuple[StoredMessage, Place | None]]:
        """Those of the messages of a lane that the task stream holds, each with its place by what waits now.

        None where the place cannot be told; raises NatsError.
        """
        found: list[tuple[StoredMessage, Place | None]] = []
        wanted = sorted(sequences) if subject in LANES else []
        while wanted:  # asked in the same moment: what is behind a message, and what the lane holds in all
            held, lane = await asyncio.gather(
                page(self._nats, self._names.tasks, subject, start=wanted[0], count=len(wanted)), self._lane(subject)
            )
            if not held:
                break
            messages = [StoredMessage.fetched(message) for message in held if message.seq in sequences]
            found += zip(messages, await self._places(messages, lane), strict=True)
            wanted = [sequence for sequence in wanted if sequence > (held[-1].seq or 0)]
        return found

    async def held(self, subject: str, sequence: int) -> StoredMessage | None:
        """The message that the task stream holds there, None where it is settled (NatsError)."""
        found = await one(self._nats, self._names.tasks, subject, sequence)
        return None if found is None else StoredMessage.fetched(found)

    async def take(self, entry: Entry) -> None:
        """Take the message that an entry's log was opened for from the queue, if it is still there."""
        held = await self.held(entry.facts.subject, entry.facts.task_sequence)
        if held is not None and held.owns(entry):  # a stream that was made anew counts from 1 again
            with suppress(APIError):  # its worker was faster: to delete what is gone is an error of the server's
                await self._js.delete_msg(self._names.tasks, held.sequence)

    async def _lane(self, subject: str) -> ConsumerInfo | None:
        with suppress(NatsError):
            return await self._lanes.consumer(*LANES[subject])
        return None

    async def _places(self, messages: Sequence[StoredMessage], lane: ConsumerInfo | None) -> list[Place | None]:
        try:
            queue = await self._remembered()
        except NatsError:
            lane = None
        if lane is None:
            return [None] * len(messages)
        waiting = {key: each.waiting for key, each in queue.lanes.items()}
        return [self._place(message, lane, queue, waiting) for message in messages]

    def _place(
        self, message: StoredMessage, lane: ConsumerInfo, queue: Queue, waiting: Mapping[tuple[Kind, Priority], int]
    ) -> Place:
        key = message.kind, message.priority
        turn = _turn(message, lane, queue.lanes[key].again)
        return Place.at_once() if turn is None else self._expected(position(waiting, *key, turn), queue)

    def _expected(self, at: int, queue: Queue) -> Place:
        """By how fast tasks have left the queue lately, but not before so many of those that run are done."""
        if at == 1 and self._idle():
            return Place.at_once()
        now, seconds, ends = datetime.now(UTC), self._lanes.flow.until(at), queue.ends
        by_flow = None if seconds is None else now + timedelta(seconds=seconds)
        by_ends = max(ends[min(at, len(ends)) - 1], now) if ends else None
        if by_flow is None:
            return Place(at, by_ends if at <= len(ends) else None)
        return Place(at, max(by_flow, by_ends or by_flow))

    async def _remembered(self) -> Queue:
        async with self._reading:
            if self._queue is None or time.monotonic() - self._read_at > REMEMBERED_FOR:
                self._queue, self._read_at = await self._lanes.read(sample=0), time.monotonic()
            return self._queue


def _turn(message: StoredMessage, lane: ConsumerInfo, again: Collection[StoredMessage]) -> int | None:
    """The place, from 1, of a message in its lane; None where a worker has it in its hands."""
    sequence = message.sequence
    if sequence > (lane.delivered.stream_seq if lane.delivered else 0):
        return max((lane.num_pending or 0) - (message.behind or 0), 1) + len(again)
    if not any(other.sequence == sequence for other in again):
        return None
    return 1 + sum(other.sequence < sequence for other in again)
