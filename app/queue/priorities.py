"""Priorities: which of the six task queues is asked before which, and how many tasks wait and run in each."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from nats.aio.client import Client
from nats.js.api import ConsumerInfo, RawStreamMsg

from app.jetstream.stream_pages import last_of_each, page
from app.queue.stored_message import StoredMessage
from app.task_log.record import Record
from schemas import subjects
from schemas.progress import ProgressEvent, State
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

QueueKey = tuple[Kind, Priority]
QUEUE_KEYS: Final = {subjects.tasks(kind, priority): (kind, priority) for priority in Priority for kind in Kind}

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # tasks of others that begin before this priority goes first
UNSETTLED_READ: Final = 256  # messages of one queue that were delivered, the oldest; the others count as running
TASKS_MEASURED: Final = 30  # throughput is that of the last so many tasks


class PriorityOrder:
    """The order in which one worker asks the task queues: high, normal, low, but none waits forever.

    A priority that was passed over too often goes first: where all queues are full, of sixteen tasks eleven are high,
    four normal and one low. The two kinds of a priority take turns. Workers share nothing: with more of them
    the shares stay the same.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)
        self._kinds = {priority: list(Kind) for priority in Priority}

    def current(self) -> Iterator[tuple[Priority, tuple[Kind, ...]]]:
        """The priorities, each with its kinds, in the order in which to ask now."""
        first = [each for each in reversed(PATIENCE) if self._passed_over[each] >= PATIENCE[each]]
        for priority in first + [each for each in Priority if each not in first]:
            yield priority, tuple(self._kinds[priority])

    def served(self, priority: Priority, kind: Kind) -> None:
        """Note that a task of this queue begins, and that the others were passed over."""
        for other in PATIENCE:
            self._passed_over[other] += 1
        self.found_empty(priority)
        kinds = self._kinds[priority]
        kinds.append(kinds.pop(kinds.index(kind)))  # the other kind goes first next time

    def found_empty(self, priority: Priority) -> None:
        """Note that no task of this priority waits, so that none was passed over."""
        self._passed_over[priority] = 0


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """How one of the six task queues stands."""

    kind: Kind
    priority: Priority
    undelivered: int  # messages
    redelivered: tuple[StoredMessage, ...]  # delivered before, and waiting again: released, or due to be retried
    running: int  # tasks that a worker has, or that wait for the time of their retry
    ends: tuple[datetime | None, ...]  # when the running tasks are expected to end; None: unknown
    sample: tuple[StoredMessage, ...]  # the first of the undelivered messages

    @property
    def subject(self) -> str:
        """Where its tasks are published."""
        return subjects.tasks(self.kind, self.priority)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a worker."""
        return self.undelivered + len(self.redelivered)

    @property
    def oldest(self) -> datetime | None:
        """When the task was stored that has waited longest, None where none waits."""
        return min((message.time for message in (*self.redelivered, *self.sample)), default=None)


@dataclass(frozen=True, slots=True)
class TaskQueues:
    """How all six task queues stand, in the order of priorities."""

    by_key: Mapping[QueueKey, TaskQueue]
    messages: Mapping[str, int]  # by subject, waiting or not
    limit: int  # messages of one queue

    @property
    def ends(self) -> list[datetime]:
        """When the running tasks are expected to end, the next first; empty where that is unknown of one of them."""
        ends = [end for queue in self.by_key.values() for end in queue.ends]
        known = [end for end in ends if end is not None]
        return sorted(known) if len(known) == len(ends) else []


class Throughput:
    """How fast tasks leave the queues while others wait, from readings now and then.

    Time in which no task waits is left out; the throughput is unknown until a task has left.
    """

    def __init__(self) -> None:
        self._busy: deque[tuple[float, int]] = deque()  # seconds in which tasks waited, and how many left in them
        self._last: tuple[float, int] | None = None  # time and count of the last reading; None: no task waited

    def observe(self, settled: int, *, waiting: bool) -> None:
        """Note how many tasks have ever left the queues, and whether others wait."""
        now = time.monotonic()
        if self._last is not None and waiting:
            then, before = self._last
            self._add(now - then, max(settled - before, 0))  # a stream that was made anew counts from 0
        self._last = (now, settled) if waiting else None

    def seconds_until(self, position: int) -> float | None:
        """Seconds until the task at this position begins, None where that is unknown."""
        seconds, left = (sum(each) for each in zip(*self._busy, strict=True)) if self._busy else (0.0, 0)
        return (position - 0.5) * seconds / left if left else None  # the next worker is on average half done

    def _add(self, seconds: float, left: int) -> None:
        if self._busy and self._busy[-1][1] == 0:
            seconds += self._busy.pop()[0]
        self._busy.append((seconds, left))
        while sum(count for _, count in self._busy) - self._busy[0][1] >= TASKS_MEASURED:
            self._busy.popleft()


class QueueReader:
    """Reads how the task queues stand from their stream and consumers; that takes no longer where more tasks wait."""

    def __init__(self, nats: Client, names: StreamNames) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self.throughput = Throughput()

    async def read(self, *, sample: int) -> TaskQueues:
        """Read how all queues stand now, with the first `sample` undelivered messages of each.

        Raises:
            NatsError: NATS does not answer.
        """
        stream, queues = await asyncio.gather(
            self._js.stream_info(self._names.tasks, subjects_filter=subjects.ALL_TASKS),
            asyncio.gather(*(self._queue(key, sample) for key in QUEUE_KEYS.values())),
        )
        settled = stream.state.last_seq - stream.state.messages
        self.throughput.observe(settled, waiting=any(queue.waiting for queue in queues))
        limit = stream.config.max_msgs_per_subject or 0
        return TaskQueues(dict(zip(QUEUE_KEYS.values(), queues, strict=True)), stream.state.subjects or {}, limit)

    async def consumer(self, key: QueueKey) -> ConsumerInfo:
        """Read what the server knows of the consumer of one queue.

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
        return TaskQueue(*key, undelivered, redelivered, running, tuple(_ends(last)), tuple(first))

    async def _page(self, subject: str, *, start: int, count: int) -> list[StoredMessage]:
        found = await page(self._nats, self._names.tasks, subject, start=start, count=count) if count else []
        return [StoredMessage.fetched(message) for message in found]

    async def _last_records(self, messages: list[StoredMessage]) -> list[RawStreamMsg | None]:
        """Read the last record in the log of each message's task, None where the log is empty."""
        ids = [message.task_id for message in messages]
        found = await last_of_each(self._nats, self._names.progress, [subjects.progress(each) for each in ids if each])
        by_id = {(record.subject or "").rpartition(".")[2]: record for record in found}
        return [by_id.get(task_id or "") for task_id in ids]


def _waits(last: RawStreamMsg | None) -> bool:
    """Whether a task waits whose message was delivered, and whose log ends with this record."""
    if last is None:
        return True  # a worker took it and released it before it began
    event = _event(last)
    if event is None:
        return False
    due = event.retry_at is not None and event.retry_at <= datetime.now(UTC)
    return event.state is State.QUEUED or (event.state is State.RETRYING and due)


def _ends(last_records: Iterable[RawStreamMsg | None]) -> Iterator[datetime | None]:
    """When each running task is expected to end, None where that is unknown."""
    for event in (_event(last) for last in last_records if last is not None):
        if event is not None and event.state is State.RUNNING:
            yield None if event.eta_seconds is None else event.time + timedelta(seconds=event.eta_seconds)


def _event(record: RawStreamMsg) -> ProgressEvent | None:
    try:
        return Record.read(record).event
    except ValueError:
        return None
