"""Positions of waiting tasks: how many tasks start before each of them, and how much audio these have."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from faststream.nats.publisher.usecase import LogicPublisher
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.requests import TaskStatus
from pydantic import TypeAdapter

from app.tasks.queue.grants import Grant
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages

REPLY_WITHIN_S = 1.0

# How many tasks start before a task, and the seconds of their audio (None: unknown); None: the task is unknown.
Before = tuple[int, float | None] | None
QUESTION: TypeAdapter[list[Grant]] = TypeAdapter(list[Grant])
REPLY: TypeAdapter[list[Before]] = TypeAdapter(list[Before])


class Position(NamedTuple):
    """The position of a waiting task in the order in which tasks start.

    `number`: 1 for the task that starts next. `seconds_ahead`: seconds of audio of the tasks that start before it;
    None: unknown.
    """

    number: int
    seconds_ahead: float | None

    def added_to(self, status: TaskStatus) -> TaskStatus:
        """Return a copy of the status of a `queued` task with this position."""
        return status.model_copy(update={"queue_position": self.number, "seconds_ahead": self.seconds_ahead})


FIRST = Position(1, 0.0)  # of a task that a worker starts immediately


class Positions:
    """Requests the positions of waiting tasks from the worker that runs the scheduler."""

    def __init__(self, publisher: LogicPublisher, messages: TaskMessages) -> None:
        self._publisher = publisher
        self._messages = messages

    async def locate(self, tasks: Iterable[tuple[str, int]]) -> list[tuple[StoredMessage, Position | None]]:
        """Read task messages by their subjects and stream sequences, and request the positions of the tasks.

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
            reply = await self._publisher.request(tasks, timeout=REPLY_WITHIN_S)
            before = REPLY.validate_json(reply.body)
        except (NatsError, ValueError):  # no worker holds the lease, or one of another version
            return [None] * len(messages)
        return [None if task is None else Position(task[0] + 1, task[1]) for task in before]
