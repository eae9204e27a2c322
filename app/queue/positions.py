"""Positions of waiting tasks: how many tasks start before each of them, and when it is expected to start."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.wire import Lane
from pydantic import TypeAdapter

from app.queue.grants import Grant
from app.queue.priority_order import seconds_until_free
from app.queue.queue_reader import QueueReader, TaskQueues
from app.queue.stored_message import StoredMessage
from app.queue.task_messages import TaskMessages

STATE_MAX_AGE_S = 1.0  # of the state of the queues from which expected starts are computed
REPLY_WITHIN_S = 1.0

# How many tasks start before a task, and the seconds of their audio (None: unknown); None: the task is unknown.
Before = tuple[int, float | None] | None
QUESTION: TypeAdapter[list[Grant]] = TypeAdapter(list[Grant])
REPLY: TypeAdapter[list[Before]] = TypeAdapter(list[Before])


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a waiting task in the order in which tasks start, and its expected start.

    `number`: 1 for the task that starts next. `expected_start`: None: unknown.
    """

    number: int
    expected_start: datetime | None

    @classmethod
    def immediate(cls) -> "Position":
        """Return the position of a task that a worker starts immediately."""
        return cls(1, datetime.now(UTC))

    def added_to(self, status: TaskStatus) -> TaskStatus:
        """Return a copy of a task's status with the number and the expected start of this position.

        A task that waits for its retry gets no number, and keeps its own expected start if that is later.
        """
        if status.state is State.RETRYING:
            times = [time for time in (status.expected_start, self.expected_start) if time is not None]
            return status.model_copy(update={"expected_start": max(times, default=None)})
        return status.model_copy(update={"queue_position": self.number, "expected_start": self.expected_start})


class Positions:
    """Computes the positions of waiting tasks: how many tasks start before each, and when it is expected to start.

    For this, it requests from the worker that runs the scheduler how many tasks start before a waiting task, and how
    many seconds of audio those tasks have.
    """

    def __init__(self, nats: Client, messages: TaskMessages, queues: QueueReader, *, idle: Callable[[], bool]) -> None:
        """Create a reader of positions.

        `queues`: reads when the running tasks are expected to end. `idle`: returns whether this worker would start a
        task immediately.
        """
        self._nats = nats
        self._messages = messages
        self._reader = queues
        self._idle = idle
        self._queues: TaskQueues | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    async def locate(self, tasks: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position | None]]:
        """Read task messages by their subjects and stream sequences, and compute the positions of the tasks.

        Return pairs of a message and its position; messages that the task stream no longer holds are omitted. A
        position is None if no worker runs the scheduler at the moment, or if the scheduler does not know the task.

        Raises:
            NatsError: NATS does not answer.
        """
        remaining, messages = set(tasks), list[StoredMessage]()
        if len(remaining) > 1:  # most of them are stored one after the other
            after = min(sequence for _, sequence in remaining) - 1
            page = await self._messages.page_after(subjects.ALL_TASKS, after, count=len(remaining))
            messages = [message for message in page if (message.subject, message.sequence) in remaining]
            remaining -= {(message.subject, message.sequence) for message in messages}
        read = await asyncio.gather(*(self._messages.find(subject, sequence) for subject, sequence in remaining))
        messages += [message for message in read if message is not None]
        return list(zip(messages, await self._positions(messages), strict=True))

    async def _positions(self, messages: Sequence[StoredMessage]) -> list[Position | None]:
        tasks = [Grant.of(message.queued_task) for message in messages]
        try:
            reply = await self._nats.request(subjects.POSITIONS, QUESTION.dump_json(tasks), timeout=REPLY_WITHIN_S)
            queues = await self._recent_queues()
            before = REPLY.validate_json(reply.data)
        except (NatsError, ValueError):  # no worker holds the lease, or one of another version
            return [None] * len(messages)
        return [self._position(message, place, queues) for message, place in zip(messages, before, strict=True)]

    def _position(self, message: StoredMessage, before: Before, queues: TaskQueues) -> Position | None:
        if before is None:
            return None
        count, seconds = before
        if count == 0 and self._idle() and message.lane is not Lane.LIVE:
            return Position.immediate()
        work = self._reader.speed.seconds_for(message.lane, seconds) if count else 0.0
        return Position(count + 1, _expected_start(work, queues))

    async def _recent_queues(self) -> TaskQueues:
        async with self._reading:
            if self._queues is None or time.monotonic() - self._read_at > STATE_MAX_AGE_S:
                self._queues, self._read_at = await self._reader.read(sample=0), time.monotonic()
            return self._queues


def _expected_start(work: float | None, queues: TaskQueues) -> datetime | None:
    """Estimate when a waiting task starts; None if unknown.

    `work`: how many seconds a single worker would need for the tasks that start before it; None: unknown. `queues`: has
    the expected ends of the running tasks.
    """
    ends, now = queues.ends, datetime.now(UTC)
    if work is None or ends is None:
        return None
    return now + timedelta(seconds=seconds_until_free([(end - now).total_seconds() for end in ends], work))
