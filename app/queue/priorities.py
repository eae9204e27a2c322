"""The order in which a worker polls the nine task queues, and the state of these queues.

There is one queue for each lane (transcription, diarization, live) and priority (high, normal, low).
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

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

T = TypeVar("T")
QueueKey = tuple[Lane, Priority]
QUEUE_KEYS: Final = {subjects.tasks(lane, priority): (lane, priority) for priority in Priority for lane in Lane}

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # how many other tasks may start before this priority is next
UNSETTLED_READ: Final = 256  # this number of a queue's delivered messages is read; the others count as running


class PriorityOrder:
    """The order in which one worker polls the task queues: high, normal and low priority, without starvation.

    A priority that was passed over PATIENCE times goes first: while all queues are full, eleven of sixteen tasks are
    high, four are normal and one is low. Transcription, diarization and live tasks (the lanes) of a priority take
    turns. Each worker has an order of its own, so the shares are the same for any number of workers.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)
        self._lanes = {priority: list(Lane) for priority in Priority}

    def current(self) -> Iterator[tuple[Priority, tuple[Lane, ...]]]:
        """Yield the priorities, each with its lanes, in the order in which the worker should poll now."""
        overdue = [priority for priority in reversed(PATIENCE) if self._passed_over[priority] >= PATIENCE[priority]]
        for priority in dict.fromkeys([*overdue, *Priority]):
            yield priority, tuple(self._lanes[priority])

    def note_served(self, key: QueueKey) -> None:
        """Note that a task of the queue `key` starts, so that every other priority was passed over once more."""
        lane, served = key
        for priority in PATIENCE:
            self._passed_over[priority] += 1
        self.note_empty(served)
        self._lanes[served].remove(lane)
        self._lanes[served].append(lane)  # the other lanes go first next time

    def note_empty(self, priority: Priority) -> None:
        """Note that no task of a priority waits, so that starting a task of another priority does not pass it over."""
        self._passed_over[priority] = 0


@dataclass(frozen=True, slots=True)
class TaskQueue:
    """The state of one task queue: the waiting and running tasks of one lane, such as transcription, and priority."""

    lane: Lane
    priority: Priority
    undelivered: int  # messages that were never delivered
    redelivered: tuple[StoredMessage, ...]  # delivered messages that wait again: released, or due for a retry
    running: int  # tasks that run, or that wait for the time of their retry
    ends: tuple[datetime | None, ...]  # when the running tasks are expected to end; None: unknown
    sample: tuple[StoredMessage, ...]  # the first of the undelivered messages

    @property
    def subject(self) -> str:
        """The subject on which clients publish the tasks of this queue."""
        return subjects.tasks(self.lane, self.priority)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a worker."""
        return self.undelivered + len(self.redelivered)

    def work_on(self, count: int, speed: Speed) -> float | None:
        """Estimate how many seconds one worker needs for the first `count` waiting tasks of this queue.

        The tasks in `redelivered` and `sample` are estimated one by one, and all others by the average of these. Return
        None if the speed of the worker or the duration of a recording is unknown.
        """
        first = (*self.redelivered, *self.sample)[:count]
        seconds = _if_all_known(speed.seconds_for(self.lane, message.audio_seconds) for message in first)
        if seconds is None or (count and not first):
            return None
        return sum(seconds) * count / len(first) if first else 0.0

    @property
    def oldest(self) -> datetime | None:
        """When the oldest waiting task was stored; None if no task waits."""
        return min((message.time for message in (*self.redelivered, *self.sample)), default=None)


@dataclass(frozen=True, slots=True)
class TaskQueues:
    """The state of all nine task queues, the most urgent first."""

    by_key: Mapping[QueueKey, TaskQueue]
    messages: Mapping[str, int]  # number of stored messages per subject, waiting or running
    limit: int  # how many messages one queue can hold

    @property
    def ends(self) -> list[datetime] | None:
        """When each running task (except live tasks) is expected to end; None if the end of one of them is unknown."""
        return _if_all_known(end for queue in self.by_key.values() if queue.lane is not Lane.LIVE for end in queue.ends)

    def work_on(self, counts: Mapping[QueueKey, int], speed: Speed) -> float | None:
        """Estimate how many seconds one worker needs for the first waiting tasks of several queues.

        `counts`: how many tasks of each queue. Return None if the seconds for one of the queues are unknown.
        """
        seconds = _if_all_known(self.by_key[key].work_on(count, speed) for key, count in counts.items())
        return None if seconds is None else sum(seconds)


class QueueReader:
    """Reads the state of the task queues from JetStream: from the task stream and its consumers.

    A read takes the same time for any number of waiting tasks.
    """

    def __init__(self, nats: Client, names: StreamNames) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self.speed = Speed()

    async def read(self, *, sample: int) -> TaskQueues:
        """Read the state of all task queues.

        `sample`: how many undelivered messages of each queue to read, for their durations.

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
        """Request the state of the JetStream consumer of one task queue.

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
        oldest = await self._page(subject, start=settled_up_to + 1, count=min(UNSETTLED_READ, unsettled))
        delivered = [message for message in oldest if message.sequence <= delivered_up_to]
        last = await self._last_records(delivered)
        redelivered = tuple(message for message, record in zip(delivered, last, strict=True) if _waits(record))
        running = unsettled - len(redelivered)
        return TaskQueue(*key, undelivered, redelivered, running, tuple(self._ends(key, delivered, last)), tuple(first))

    def _ends(
        self, key: QueueKey, messages: Iterable[StoredMessage], last: Iterable[RawStreamMsg | None]
    ) -> Iterator[datetime | None]:
        """Yield when each running task of a queue is expected to end; None if that is unknown.

        `messages`: the delivered messages of the queue. `last`: for each of these messages, the last record in the log
        of its task.
        """
        for message, record in zip(messages, map(_record, last), strict=True):
            if record is None or record.event.state is not State.RUNNING:
                continue
            since, seconds = record.event.time, record.event.eta_seconds
            if seconds is None:  # the task has just started
                since = record.metadata.started_at or since
                seconds = self.speed.seconds_for(key[0], message.audio_seconds)
            yield None if seconds is None else since + timedelta(seconds=seconds)

    async def _page(self, subject: str, *, start: int, count: int) -> list[StoredMessage]:
        messages = await page(self._nats, self._names.tasks, subject, start=start, count=count) if count else []
        return [StoredMessage.fetched(message) for message in messages]

    async def _last_records(self, messages: list[StoredMessage]) -> list[RawStreamMsg | None]:
        """Return for each message the last record in the log of its task; None if the log is empty."""
        logs = [subjects.progress(message.task_id) if message.task_id else "" for message in messages]
        last = await last_per_subject(self._nats, self._names.progress, list(filter(None, logs)))
        by_log = {record.subject: record for record in last}
        return [by_log.get(log) for log in logs]


def _waits(last: RawStreamMsg | None) -> bool:
    """Return whether a message that was delivered before waits for a worker again.

    That is so if a worker has released the message, or if the time of its task's retry has come. `last`: the last
    record in the log of the task; None: the log is empty.
    """
    if last is None:
        return True  # a worker has returned the message before the task had a log
    record = _record(last)
    if record is None:
        return False
    event = record.event
    due = event.retry_at is not None and event.retry_at <= datetime.now(UTC)
    return event.state is State.QUEUED or (event.state is State.RETRYING and due)


def _if_all_known(values: Iterable[T | None]) -> list[T] | None:
    """Return the values as a list; None if one of them is None."""
    values = list(values)
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _record(message: RawStreamMsg | None) -> Record | None:
    with suppress(UnreadableError):
        return None if message is None else read_record(Record.read, message)
    return None
