"""Priorities: the order in which the nine task queues are asked, and how many tasks wait and run in each queue."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from nats.aio.client import Client
from nats.js.api import ConsumerInfo, RawStreamMsg
from natscribe.jetstream.stream_pages import last_per_subject, page
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.jetstream.records import UnreadableError, read_record
from app.queue.speed import Speed
from app.queue.stored_message import StoredMessage
from app.task_log.record import Record

QueueKey = tuple[Lane, Priority]
QUEUE_KEYS: Final = {subjects.tasks(queue, priority): (queue, priority) for priority in Priority for queue in Lane}

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # other tasks that may begin before this priority is next
UNSETTLED_READ: Final = 256  # only this number of a queue's delivered messages is read; the rest count as running


class PriorityOrder:
    """The order in which one worker asks the task queues: high, normal, low, but no priority waits forever.

    A priority that was passed over PATIENCE times goes first: while all queues are full, eleven of sixteen tasks are
    high, four are normal and one is low. The queues of a priority alternate. Each worker has an order of its own,
    so the shares are the same for any number of workers.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)
        self._queues = {priority: list(Lane) for priority in Priority}

    def current(self) -> Iterator[tuple[Priority, tuple[Lane, ...]]]:
        """Yield the priorities, each with its queues, in the order in which to ask now."""
        first = [each for each in reversed(PATIENCE) if self._passed_over[each] >= PATIENCE[each]]
        for priority in first + [each for each in Priority if each not in first]:
            yield priority, tuple(self._queues[priority])

    def note_served(self, priority: Priority, queue: Lane) -> None:
        """Note that a task of this queue begins: all other priorities count as passed over once more."""
        for other in PATIENCE:
            self._passed_over[other] += 1
        self.note_empty(priority)
        queues = self._queues[priority]
        queues.append(queues.pop(queues.index(queue)))  # the others go first next time

    def note_empty(self, priority: Priority) -> None:
        """Note that no task of this priority waits: it counts as never passed over."""
        self._passed_over[priority] = 0


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """The state of one of the nine task queues."""

    queue: Lane
    priority: Priority
    undelivered: int  # messages that no worker has had yet
    redelivered: tuple[StoredMessage, ...]  # messages that a worker had and that wait again: released, or due to retry
    running: int  # tasks that a worker has, or that wait for the time of their retry
    ends: tuple[datetime | None, ...]  # when the running tasks are expected to end; None: unknown
    sample: tuple[StoredMessage, ...]  # the first of the undelivered messages

    @property
    def subject(self) -> str:
        """The subject on which tasks of this queue are published."""
        return subjects.tasks(self.queue, self.priority)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a worker."""
        return self.undelivered + len(self.redelivered)

    def work_on(self, count: int, speed: Speed) -> float | None:
        """Estimate the work on the first `count` waiting tasks, in seconds.

        Only `redelivered` and `sample` were read: each other task counts as the average of these.
        """
        first = (*self.redelivered, *self.sample)[:count]
        known = [speed.seconds_for(self.queue, each.audio_seconds) for each in first]
        seconds = [each for each in known if each is not None]
        if len(seconds) < len(first) or (count and not first):
            return None
        return sum(seconds) * count / len(first) if first else 0.0

    @property
    def oldest(self) -> datetime | None:
        """When the oldest waiting task was stored; None if no waiting task was read."""
        return min((message.time for message in (*self.redelivered, *self.sample)), default=None)


@dataclass(frozen=True, slots=True)
class TaskQueues:
    """The state of all nine task queues, in the order of priorities."""

    by_key: Mapping[QueueKey, TaskQueue]
    messages: Mapping[str, int]  # for each subject, the number of stored messages, waiting or running
    limit: int  # the number of messages that one queue can hold

    @property
    def ends(self) -> list[datetime] | None:
        """When the running tasks with recordings are expected to end; None if any of the times is unknown."""
        ends = [end for queue in self.by_key.values() if queue.queue is not Lane.LIVE for end in queue.ends]
        known = [end for end in ends if end is not None]
        return known if len(known) == len(ends) else None

    def work_on(self, counts: Mapping[QueueKey, int], speed: Speed) -> float | None:
        """Estimate the work on the first tasks of each queue, in seconds; `counts` says how many tasks of each.

        None if the work on the tasks of one queue is unknown: see `TaskQueue.work_on`.
        """
        found = [self.by_key[key].work_on(count, speed) for key, count in counts.items()]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None


class QueueReader:
    """Reads the state of the task queues from stream and consumers, equally fast for any number of tasks."""

    def __init__(self, nats: Client, names: StreamNames) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self.speed = Speed()

    async def read(self, *, sample: int) -> TaskQueues:
        """Read the state of all queues, with the first `sample` undelivered messages of each queue.

        Raises:
            NatsError: NATS does not answer.
        """
        stream, queues = await asyncio.gather(
            self._js.stream_info(self._names.tasks, subjects_filter=subjects.ALL_TASKS),
            asyncio.gather(*(self._queue(key, sample) for key in QUEUE_KEYS.values())),
        )
        limit = stream.config.max_msgs_per_subject or 0
        return TaskQueues(dict(zip(QUEUE_KEYS.values(), queues, strict=True)), stream.state.subjects or {}, limit)

    async def consumer(self, key: QueueKey) -> ConsumerInfo:
        """Read the state of one queue's JetStream consumer.

        Raises:
            NatsError: NATS does not answer.
        """
        info: ConsumerInfo = await self._js.consumer_info(self._names.tasks, self._names.queue_consumer(*key))
        return info

    async def _queue(self, key: QueueKey, sample: int) -> TaskQueue:
        info, subject = await self.consumer(key), subjects.tasks(*key)
        delivered_up_to = info.delivered.stream_seq if info.delivered else 0
        settled_up_to = info.ack_floor.stream_seq if info.ack_floor else 0
        undelivered, unsettled = info.num_pending or 0, info.num_ack_pending or 0
        first = await self._page(subject, start=delivered_up_to + 1, count=min(sample, undelivered))
        found = await self._page(subject, start=settled_up_to + 1, count=min(UNSETTLED_READ, unsettled))
        delivered = [message for message in found if message.sequence <= delivered_up_to]
        last = await self._last_records(delivered)
        redelivered = tuple(message for message, record in zip(delivered, last, strict=True) if _waits(record))
        running = unsettled - len(redelivered)
        return TaskQueue(*key, undelivered, redelivered, running, tuple(self._ends(key, delivered, last)), tuple(first))

    def _ends(
        self, key: QueueKey, messages: Iterable[StoredMessage], last: Iterable[RawStreamMsg | None]
    ) -> Iterator[datetime | None]:
        """Yield when each running task is expected to end, None if this is unknown."""
        for message, record in zip(messages, map(_record, last), strict=True):
            if record is None or record.event.state is not State.RUNNING:
                continue
            since, seconds = record.event.time, record.event.eta_seconds
            if seconds is None:  # the task has just begun
                since = record.metadata.started_at or since
                seconds = self.speed.seconds_for(key[0], message.audio_seconds)
            yield None if seconds is None else since + timedelta(seconds=seconds)

    async def _page(self, subject: str, *, start: int, count: int) -> list[StoredMessage]:
        found = await page(self._nats, self._names.tasks, subject, start=start, count=count) if count else []
        return [StoredMessage.fetched(message) for message in found]

    async def _last_records(self, messages: list[StoredMessage]) -> list[RawStreamMsg | None]:
        """Read the last record in the log of each message's task; None if the log is empty."""
        ids = [message.task_id for message in messages]
        found = await last_per_subject(
            self._nats, self._names.progress, [subjects.progress(each) for each in ids if each]
        )
        by_id = {(record.subject or "").rpartition(".")[2]: record for record in found}
        return [by_id.get(task_id or "") for task_id in ids]


def _waits(last: RawStreamMsg | None) -> bool:
    """Whether a task waits again though its message was delivered; `last` is the last record of its log."""
    if last is None:
        return True  # a worker returned the message before the task had a log, so the task still waits
    record = _record(last)
    if record is None:
        return False
    event = record.event
    due = event.retry_at is not None and event.retry_at <= datetime.now(UTC)
    return event.state is State.QUEUED or (event.state is State.RETRYING and due)


def _record(message: RawStreamMsg | None) -> Record | None:
    with suppress(UnreadableError):
        return None if message is None else read_record(Record.read, message)
    return None
