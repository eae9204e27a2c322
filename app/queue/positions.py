"""Positions of waiting tasks: how many tasks workers start before each, and when it is expected to start."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from natscribe.jetstream.stream_pages import page
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane

from app.queue.estimates import seconds_until_free, served_before
from app.queue.priorities import QUEUE_KEYS, QueueKey, QueueReader, TaskQueues
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages

SAMPLE = 64  # waiting tasks per queue whose durations are read; the others count as the average of these
STATE_MAX_AGE_S = 1.0  # of the state of the queues from which positions are computed


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a waiting task among all waiting tasks, in the order in which workers start them."""

    number: int  # 1: the task is served next
    expected_start: datetime | None  # None: unknown

    @classmethod
    def immediate(cls) -> "Position":
        """Return the position of a task that a worker starts immediately."""
        return cls(1, datetime.now(UTC))

    def added_to(self, status: TaskStatus) -> TaskStatus:
        """Return a copy of a task's status with the number and the expected start of this position.

        A task that waits for its retry gets no number. Its expected start is the later of this position's and the
        status's.
        """
        if status.state is State.RETRYING:
            times = [time for time in (status.expected_start, self.expected_start) if time is not None]
            return status.model_copy(update={"expected_start": max(times, default=None)})
        return status.model_copy(update={"queue_position": self.number, "expected_start": self.expected_start})


class Positions:
    """Computes the positions of waiting tasks from the state of the task queues."""

    def __init__(
        self, nats: Client, names: StreamNames, messages: TaskMessages, queues: QueueReader, *, idle: Callable[[], bool]
    ) -> None:
        """Create a reader of positions; `idle` returns whether this worker would start a task immediately."""
        self._nats = nats
        self._names = names
        self._messages = messages
        self._reader = queues
        self._idle = idle
        self._queues: TaskQueues | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def locate(self, subject: str, sequences: Collection[int]) -> list[tuple[StoredMessage, Position | None]]:
        """Read task messages of the queue `subject` by their stream sequences, and compute their current positions.

        Return pairs of a message and its position. Messages that the queue no longer holds are omitted. A position is
        None if the state of the queues cannot be read, or does not include the message yet.

        Raises:
            NatsError: NATS does not answer.
        """
        located: list[tuple[StoredMessage, Position | None]] = []
        remaining = sorted(sequences) if subject in QUEUE_KEYS else []
        while remaining:
            stored, consumer = await asyncio.gather(  # concurrently, so that their counts are of the same moment
                page(self._nats, self._names.tasks, subject, start=remaining[0], count=len(remaining)),
                self._consumer(subject),
            )
            if not stored:
                break
            messages = [StoredMessage.fetched(message) for message in stored if message.seq in sequences]
            located += zip(messages, await self._positions(messages, consumer), strict=True)
            remaining = [sequence for sequence in remaining if sequence > (stored[-1].seq or 0)]
        missing = set(sequences) - {message.sequence for message, _ in located}
        return located + [(message, None) for message in await self._read_from_leader(subject, missing)]

    async def _read_from_leader(self, subject: str, sequences: Collection[int]) -> list[StoredMessage]:
        """Read messages from the leader of the stream, because another server may lack the latest messages."""
        messages = [await self._messages.find(subject, sequence) for sequence in sequences]
        return [message for message in messages if message is not None]

    async def _consumer(self, subject: str) -> ConsumerInfo | None:
        with suppress(NatsError):
            return await self._reader.consumer(QUEUE_KEYS[subject])
        return None

    async def _positions(
        self, messages: Sequence[StoredMessage], consumer: ConsumerInfo | None
    ) -> list[Position | None]:
        queues = None
        with suppress(NatsError):
            queues = await self._recent_queues()
        if consumer is None or queues is None:
            return [None] * len(messages)
        waiting = {key: queue.waiting for key, queue in queues.by_key.items()}
        return [self._position(message, consumer, queues, waiting) for message in messages]

    def _position(
        self, message: StoredMessage, consumer: ConsumerInfo, queues: TaskQueues, waiting: Mapping[QueueKey, int]
    ) -> Position:
        key = QUEUE_KEYS[message.subject]
        turn = _turn(message, consumer, queues.by_key[key].redelivered)
        if turn is None:
            return Position.immediate()
        before = served_before(waiting, key, turn)
        number = 1 + sum(before.values())
        if number == 1 and self._idle() and key[0] is not Lane.LIVE:
            return Position.immediate()
        return Position(number, self._expected_start(before, queues))

    def _expected_start(self, before: Mapping[QueueKey, int], queues: TaskQueues) -> datetime | None:
        """Estimate when a task starts, from the work on the tasks before it and the expected ends of running tasks.

        `before`: for each queue, how many of its tasks start before this task. Return None if the duration of a
        recording of these tasks is unknown, or the end of a running task.
        """
        work, ends, now = queues.work_on(before, self._reader.speed), queues.ends, datetime.now(UTC)
        if work is None or ends is None:
            return None
        return now + timedelta(seconds=seconds_until_free([(end - now).total_seconds() for end in ends], work))

    async def _recent_queues(self) -> TaskQueues:
        async with self._reading:
            if self._queues is None or time.monotonic() - self._read_at > STATE_MAX_AGE_S:
                self._queues, self._read_at = await self._reader.read(sample=SAMPLE), time.monotonic()
            return self._queues


def _turn(message: StoredMessage, consumer: ConsumerInfo, redelivered: Collection[StoredMessage]) -> int | None:
    """Return the position (from 1) of a waiting message in its own queue; None if a worker is handling the message.

    `redelivered`: the messages of the queue that were delivered before and wait again.
    """
    if message.sequence > (consumer.delivered.stream_seq if consumer.delivered else 0):
        return max((consumer.num_pending or 0) - (message.behind or 0), 1) + len(redelivered)
    waiting = sorted(other.sequence for other in redelivered)
    return waiting.index(message.sequence) + 1 if message.sequence in waiting else None
