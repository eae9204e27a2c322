"""The state of the nine task queues: one for each task type (transcription, diarization, live) and priority."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from nats.aio.client import Client
from natscribe.schemas import subjects
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Priority, TaskType

from app.tasks.queue.grants import Grant, all_grants
from app.tasks.queue.stored_message import StoredMessage
from app.tasks.queue.task_messages import TaskMessages

QueueKey = tuple[TaskType, Priority]
QUEUE_KEYS: Final = {
    subjects.tasks(task_type, priority): (task_type, priority) for priority in Priority for task_type in TaskType
}
SCHEDULED_READ: Final = 1000  # this number of scheduled tasks is skipped to find the oldest waiting ones


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """The state of one task queue, i.e. of the tasks with one task type (such as transcription) and one priority.

    `waiting`: the number of tasks that may start but have no grant. `scheduled`: the number of tasks that may not start
    yet. `running`: the number of tasks with a grant: they run, are about to start, or wait for the time of their retry.
    `sample`: the messages of the oldest waiting tasks.
    """

    task_type: TaskType
    priority: Priority
    waiting: int
    scheduled: int
    running: int
    sample: tuple[StoredMessage, ...]

    @property
    def subject(self) -> str:
        """The subject on which clients publish the tasks of this queue."""
        return subjects.tasks(self.task_type, self.priority)

    @property
    def oldest(self) -> datetime | None:
        """The earliest time at which a task in `sample` was allowed to start; None if `sample` is empty."""
        return min((message.due_at for message in self.sample), default=None)


@dataclass(frozen=True, slots=True)
class TaskQueues:
    """The state of all nine task queues: three task types with three priorities each.

    `by_key`: the queues by task type and priority, high priority first. `messages`: the number of stored messages by
    the subject of the queue, whether their tasks wait or run. `limit`: how many messages one queue can hold.
    """

    by_key: Mapping[QueueKey, TaskQueue]
    messages: Mapping[str, int]
    limit: int


@dataclass(eq=False)
class QueueReader:
    """Reads the state of the task queues from JetStream: from task messages and from grants, which let tasks start.

    A read takes the same time for any number of waiting tasks. `scheduled`: returns, by the subject of each queue, how
    many of its tasks may not start yet.
    """

    nats: Client
    names: StreamNames
    messages: TaskMessages
    scheduled: Callable[[], Mapping[str, int]]

    async def read(self, *, sample: int) -> TaskQueues:
        """Read the state of all task queues.

        `sample`: how many of the oldest waiting tasks of each queue to read; 0: none.

        Raises:
            NatsError: NATS does not answer.
        """
        stream, grants = await asyncio.gather(
            self.nats.jetstream().stream_info(self.names.tasks, subjects_filter=subjects.ALL_TASKS),
            all_grants(self.nats, self.names),
        )
        stored = stream.state.subjects or {}
        queues = await asyncio.gather(
            *(self._queue(key, stored.get(subject, 0), grants, sample) for subject, key in QUEUE_KEYS.items())
        )
        limit = stream.config.max_msgs_per_subject or 0
        return TaskQueues(dict(zip(QUEUE_KEYS.values(), queues, strict=True)), stored, limit)

    async def _queue(self, key: QueueKey, stored: int, stored_grants: list[Grant], sample: int) -> TaskQueue:
        subject, now = subjects.tasks(*key), datetime.now(UTC)
        grants = [grant for grant in stored_grants if grant.subject == subject]
        granted = {grant.sequence for grant in grants}
        scheduled = min(self.scheduled().get(subject, 0), stored)
        waiting = max(stored - len(grants) - scheduled, 0)
        count = len(grants) + sample + min(scheduled, SCHEDULED_READ) if sample and waiting else 0
        oldest = await self.messages.page_after(subject, 0, count=count) if count else []
        first = [
            message
            for message in oldest
            if message.sequence not in granted and message.due_at <= max(message.time, now)
        ]
        return TaskQueue(*key, waiting, scheduled, len(grants), tuple(first[:sample]))
