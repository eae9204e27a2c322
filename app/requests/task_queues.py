"""Handles `tasks.queue`: reports how many tasks wait and run in each task queue."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from nats.aio.client import Client
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.task_queues import QueueOverview, QueueStatus

from app.requests.deadline import answering
from app.storage.jetstream.lease import QueueReport
from app.tasks.queue.queue_reader import QueueReader, TaskQueue


@dataclass(frozen=True, slots=True)
class QueueOverviews:
    """Counts the waiting and running tasks of each task queue, and the dead letters."""

    nats: Client
    names: StreamNames
    queues: QueueReader
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
        statuses = [_status_of(queue) for queue in queues.by_key.values()]
        return QueueOverview(queues=statuses, dead_letters=dead_letters.state.messages, users=self.report().users)


def _status_of(queue: TaskQueue) -> QueueStatus:
    return QueueStatus(
        queue=queue.task_type,
        kind=queue.task_type.kind,
        priority=queue.priority,
        waiting=queue.waiting,
        scheduled=queue.scheduled,
        running=queue.running,
        oldest=queue.oldest,
    )
