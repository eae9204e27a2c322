"""Handles `tasks.queue`: reports how many tasks wait and run in each task queue."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from nats.aio.client import Client
from natscribe.jetstream.stream_pages import last_per_subject
from natscribe.schemas.requests import TaskStatus
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.task_queues import QueueOverview, QueueStatus

from app.errors import RequestError
from app.jetstream.lease import QueueReport
from app.queue.queue_reader import QueueReader, TaskQueue
from app.queue.stored_message import StoredMessage
from app.requests.deadline import answering


@dataclass(frozen=True, slots=True)
class QueueOverviews:
    """Counts the waiting and running tasks of each task queue, and the dead letters."""

    nats: Client
    names: StreamNames
    queues: QueueReader
    status: Callable[[str], Awaitable[TaskStatus]]  # of the task with an id
    report: Callable[[], QueueReport]  # returns what the scheduler knows about users

    async def read(self) -> QueueOverview:
        """Return the current state of all task queues.

        Raises:
            RequestError: JetStream does not answer.
        """
        async with answering("JetStream does not answer: try again in a moment."):
            queues, dead_letters = await asyncio.gather(
                self.queues.read(sample=1), self.nats.jetstream().stream_info(self.names.dead_letters)
            )
            statuses = await asyncio.gather(*(self._described(queue) for queue in queues.by_key.values()))
        return QueueOverview(queues=statuses, dead_letters=dead_letters.state.messages, users=self.report().users)

    async def _described(self, queue: TaskQueue) -> QueueStatus:
        newest = await self._newest(queue) if queue.waiting else None
        return QueueStatus(
            queue=queue.lane,
            kind=queue.lane.kind,
            priority=queue.priority,
            waiting=queue.waiting,
            scheduled=queue.scheduled,
            running=queue.running,
            oldest=queue.oldest,
            newest_start=newest and newest.expected_start,
        )

    async def _newest(self, queue: TaskQueue) -> TaskStatus | None:
        """Return the status of the task that entered a queue last; None if there is none, or its message is invalid."""
        newest = await last_per_subject(self.nats, self.names.tasks, [queue.subject])
        task_id = StoredMessage.fetched(newest[0]).task_id if newest else None
        try:
            return None if task_id is None else await self.status(task_id)
        except RequestError:  # the task has just been deleted
            return None
