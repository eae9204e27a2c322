"""The lanes of the queue: how many tasks wait and run in each."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.js.api import ConsumerInfo, RawStreamMsg

from app.jetstream.stream_pages import last_of_each, page
from app.log.entry import Entry
from app.queue import invalid
from app.queue.flow import Flow
from app.queue.stored_message import StoredMessage
from schemas import subjects
from schemas.progress import ProgressEvent, State
from schemas.stream_names import StreamNames
from schemas.wire import Kind, Priority

LOOKED_AT = 256  # of a lane's messages that were delivered and are not settled the oldest; all others count as running


@dataclass(frozen=True, slots=True)
class Lane:
    """How a lane stands."""

    kind: Kind
    priority: Priority
    unasked: int  # messages that were never delivered
    asked_up_to: int  # the stream sequence before them
    again: tuple[StoredMessage, ...]  # what was delivered and waits again: given back, looked at, or to be retried now
    running: int  # tasks that are at a worker, or wait for the time of their retry
    ends: tuple[datetime | None, ...]  # when those at a worker are expected to be done; null where nobody knows
    sample: tuple[StoredMessage, ...]  # of the messages that were never delivered the first ones

    @property
    def subject(self) -> str:
        """Where its tasks are published."""
        return subjects.tasks(self.kind, self.priority)

    @property
    def waiting(self) -> int:
        """How many tasks wait for a worker."""
        return self.unasked + len(self.again)

    @property
    def oldest(self) -> datetime | None:
        """Since when the one that waits longest is there, None where none waits."""
        return min((message.time for message in (*self.again, *self.sample)), default=None)


@dataclass(frozen=True, slots=True)
class Queue:
    """How the whole queue stands; its lanes in the order in which they are served."""

    lanes: Mapping[tuple[Kind, Priority], Lane]
    messages: Mapping[str, int]  # by subject, waiting or not
    limit: int  # messages that a subject may have

    @property
    def ends(self) -> list[datetime]:
        """When the tasks that run are expected to be done, in order; none where that is unknown of one of them."""
        ends = [end for lane in self.lanes.values() for end in lane.ends]
        known = [end for end in ends if end is not None]
        return sorted(known) if len(known) == len(ends) else []


class LaneReader:
    """Reads the state of the queue off its stream and consumers: that takes no longer where more tasks wait."""

    def __init__(self, nats: Client, names: StreamNames) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._names = names
        self.flow = Flow()

    async def read(self, *, sample: int) -> Queue:
        """How the queue stands now, with the first `sample` messages of each lane (NatsError)."""
        keys = [(kind, priority) for priority in Priority for kind in Kind]
        stream, lanes = await asyncio.gather(
            self._js.stream_info(self._names.tasks, subjects_filter=subjects.ALL_TASKS),
            asyncio.gather(*(self._lane(kind, priority, sample) for kind, priority in keys)),
        )
        settled = stream.state.last_seq - stream.state.messages
        self.flow.observe(settled, waiting=any(lane.waiting for lane in lanes))
        limit = stream.config.max_msgs_per_subject or 0
        return Queue(dict(zip(keys, lanes, strict=True)), stream.state.subjects or {}, limit)

    async def consumer(self, kind: Kind, priority: Priority) -> ConsumerInfo:
        """What the server says of a lane (NatsError)."""
        info: ConsumerInfo = await self._js.consumer_info(self._names.tasks, self._names.queue_consumer(kind, priority))
        return info

    async def _lane(self, kind: Kind, priority: Priority, sample: int) -> Lane:
        info = await self.consumer(kind, priority)
        asked_up_to = info.delivered.stream_seq if info.delivered else 0
        unasked, unsettled = info.num_pending or 0, info.num_ack_pending or 0
        subject = subjects.tasks(kind, priority)
        first: list[StoredMessage] = []
        if unasked and sample:
            first = await self._page(subject, start=asked_up_to + 1, count=min(sample, unasked))
        held: list[StoredMessage] = []
        if unsettled:
            settled_up_to = info.ack_floor.stream_seq if info.ack_floor else 0
            found = await self._page(subject, start=settled_up_to + 1, count=min(LOOKED_AT, unsettled))
            held = [message for message in found if message.sequence <= asked_up_to]
        last = await self._last_of(held)
        again = tuple(message for message, entry in zip(held, last, strict=True) if _waits(entry))
        running = unsettled - len(again)
        return Lane(kind, priority, unasked, asked_up_to, again, running, tuple(_ends(last)), tuple(first))

    async def _page(self, subject: str, *, start: int, count: int) -> list[StoredMessage]:
        found = await page(self._nats, self._names.tasks, subject, start=start, count=count)
        return [StoredMessage.fetched(message) for message in found]

    async def _last_of(self, held: list[StoredMessage]) -> list[RawStreamMsg | None]:
        """What ends the log of each delivered message's task."""
        ids = [invalid.task_id(message.body) for message in held]
        logs = [subjects.progress(task_id) for task_id in ids if task_id]
        found = await last_of_each(self._nats, self._names.progress, logs) if logs else []
        last = {(entry.subject or "").rpartition(".")[2]: entry for entry in found}
        return [last.get(task_id or "") for task_id in ids]


def _waits(last: RawStreamMsg | None) -> bool:
    """Whether a task waits whose log ends with this entry."""
    if last is None:
        return True  # nobody has opened it yet
    event = _event(last)
    if event is None:
        return False
    due = event.retry_at is not None and event.retry_at <= datetime.now(UTC)
    return event.state is State.QUEUED or (event.state is State.RETRYING and due)


def _event(last: RawStreamMsg) -> ProgressEvent | None:
    try:
        return Entry.read(last).event
    except ValueError:
        return None


def _ends(logs: Iterable[RawStreamMsg | None]) -> Iterator[datetime | None]:
    for event in (_event(last) for last in logs if last is not None):
        if event is not None and event.state is State.RUNNING:
            yield None if event.eta_seconds is None else event.time + timedelta(seconds=event.eta_seconds)
