"""Follows a task: yields its progress and segments events in order, without loss in outages."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from natscribe.client.errors import TaskDeletedError, UnreachableError
from natscribe.client.permissions import Connection
from natscribe.jetstream.leader_reads import last_message, next_from
from natscribe.schemas import subjects
from natscribe.schemas.live import Partial, SpeakersEvent, TurnEvent
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.settings import Settings

Event = ProgressEvent | SegmentsEvent | SpeakersEvent
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.05, 2.0  # between two reads; a published event ends a pause early
# Of two servers of a cluster: they may store segments, what becomes known about speakers, and the end of the task.
_MAX_CLOCK_DIFFERENCE = timedelta(seconds=1)
_MAX_TURNS = 1000  # events that nobody has taken
_EARLIEST = datetime.min.replace(tzinfo=timezone.utc)


@dataclass
class _EventReader:
    """Reads the events on one subject one at a time, without a JetStream consumer, which an outage could remove.

    `next_event`: the event that `peek` has read and nobody has consumed yet, by setting it to None. `time`, `sequence`:
    when the last message that was read was stored, and its stream sequence.
    """

    connection: Nats
    stream: str
    subject: str
    type: type[Event]
    next_event: Event | None = None  # read, but not consumed
    time: datetime = _EARLIEST  # of the last message that was read
    sequence: int = 0  # of the last message that was read

    async def peek(self) -> None:
        """Read the next event, if there is one, unless an event was read that is not consumed yet."""
        while self.next_event is None:
            message = await next_from(self.connection, self.stream, self.subject, self.sequence + 1)
            if message is None:
                return
            self.sequence, self.time = message.seq or 0, message.time or _EARLIEST
            self.next_event = self._parse(message)

    def _parse(self, message: RawStreamMsg) -> Event | None:
        """Return the event in a message; None if the message is not an event of the followed task."""
        with suppress(ValueError):
            event = self.type.model_validate_json(message.data or b"")
            if self.subject.endswith(f".{event.task_id}"):
                return event
        return None

    async def skip_past(self, *, last: bool) -> None:
        """Skip all events that are stored now; `last`: also the last one."""
        message = await last_message(self.connection, self.stream, self.subject)
        self.sequence = (message.seq or 0) - (not last) if message is not None else 0

    async def is_deleted(self) -> bool:
        """Whether the stream no longer has any event on the subject, although events were read before."""
        return bool(self.sequence) and await last_message(self.connection, self.stream, self.subject) is None


async def has_events(connection: Nats, settings: Settings, task_id: str) -> bool:
    """Whether the progress stream has an event of a task; False if the stream cannot be read."""
    with suppress(nats.errors.Error):
        return await last_message(connection, settings.stream_names.progress, subjects.progress(task_id)) is not None
    return False


async def follow_all(connection: Connection) -> AsyncGenerator[ProgressEvent]:
    """Yield the progress events of all tasks as they are published; events during an outage are lost.

    Raises:
        NotAllowedError: The user may not receive the events of all tasks.
    """
    subscription = await connection.subscribe(subjects.progress("*"))
    try:
        await connection.confirm_subscription(subjects.progress("*"))
        async for message in subscription.messages:
            with suppress(ValueError):  # skip a message that is not an event of the service
                yield ProgressEvent.model_validate_json(message.data)
    finally:
        with suppress(nats.errors.ConnectionClosedError):
            await subscription.unsubscribe()


class Partials:
    """Buffers the newest partial result of each channel of a live task until it is taken or replaced.

    Also buffers the turns events of the task, all of which are taken.
    """

    def __init__(self) -> None:
        self.published = asyncio.Event()
        self._newest: dict[int | None, Partial] = {}
        self._turns = deque[TurnEvent](maxlen=_MAX_TURNS)

    async def receive(self, message: Msg) -> None:
        """Store the partial result in a message; a message without one is ignored."""
        with suppress(ValueError):
            partial = Partial.model_validate_json(message.data)
            self._newest[partial.channel] = partial
            self.published.set()

    async def receive_turn(self, message: Msg) -> None:
        """Store the turns event in a message; a message without one is ignored."""
        with suppress(ValueError):
            self._turns.append(TurnEvent.model_validate_json(message.data))
            self.published.set()

    def take(self) -> Partial | TurnEvent | None:
        """Remove and return the oldest turns event, or else a partial result of any channel; None if there are none."""
        if self._turns:
            return self._turns.popleft()
        return self._newest.pop(next(iter(self._newest)), None) if self._newest else None

    def drop_replaced(self, event: SegmentsEvent) -> None:
        """Discard the stored partial result of the event's channel if it starts before `event.processed_seconds`.

        Up to this time, the text of the channel is final.
        """
        partial = self._newest.get(event.channel)
        if partial is not None and partial.start < event.processed_seconds:
            del self._newest[event.channel]


def _delay_of(event: Event | None) -> timedelta:
    """Return by how much an event is yielded later than its time says, so that it follows what it is about."""
    if isinstance(event, ProgressEvent):
        return 2 * _MAX_CLOCK_DIFFERENCE if event.state.ended else timedelta()
    return _MAX_CLOCK_DIFFERENCE if isinstance(event, SpeakersEvent) else timedelta()


class Follower:
    """Yields the events of one task in order, from the first one until the task ends.

    `partials`: the buffer from which `with_partials` takes the partial results of a live task. Without it,
    `with_partials` yields neither partial results nor speakers events.
    """

    def __init__(self, connection: Nats, settings: Settings, task_id: str, partials: Partials | None = None) -> None:
        streams = settings.stream_names
        self._partials = partials or Partials()
        self._connection = connection
        self._task_id = task_id
        self._progress = _EventReader(connection, streams.progress, subjects.progress(task_id), ProgressEvent)
        segments = _EventReader(connection, streams.segments, subjects.segments(task_id), SegmentsEvent)
        about = subjects.speakers(task_id)
        speakers = _EventReader(connection, streams.speakers, about, SpeakersEvent)
        # In this order the service appends what belongs together.
        self._readers = (segments, *([speakers] if partials else []), self._progress)
        self._ended = False

    async def skip_past_events(self) -> None:
        """Skip the events that are stored now, except the last progress event, which may end the task.

        Raises:
            UnreachableError: NATS does not reply.
        """
        try:
            for reader in self._readers:
                await reader.skip_past(last=reader is not self._progress)
        except nats.errors.Error as error:
            message = f"NATS does not report the events of {self._task_id}: try again in a moment."
            raise UnreachableError(message) from error

    async def events(self) -> AsyncGenerator[ProgressEvent | SegmentsEvent]:
        """Yield past and new events in order until the task ends; for exceptions see `with_partials`."""
        async with aclosing(self.with_partials()) as events:
            async for event in events:
                if isinstance(event, ProgressEvent | SegmentsEvent):
                    yield event

    async def with_partials(self) -> AsyncGenerator[Event | Partial | TurnEvent]:
        """Yield past and new events of a live task in order until the task ends, with partials and turns in between.

        A partial result is skipped if segments have already replaced it. An event about speakers follows the segments
        to which it refers.

        Raises:
            TaskDeletedError: The task was deleted.
            UnreachableError: The connection was closed.
        """
        subscriptions = [
            await self._connection.subscribe(reader.subject, cb=self._on_message) for reader in self._readers
        ]
        pause = _MIN_PAUSE_S
        try:
            while True:
                event = await self._next() or self._partials.take()
                if isinstance(event, SegmentsEvent):
                    self._partials.drop_replaced(event)
                if event is not None:
                    pause = _MIN_PAUSE_S
                    yield event
                elif self._ended:
                    return
                else:
                    pause = await self._wait(pause)
        finally:
            for subscription in subscriptions:
                with suppress(nats.errors.ConnectionClosedError):
                    await subscription.unsubscribe()

    async def _on_message(self, _: Msg) -> None:
        self._partials.published.set()

    async def _next(self) -> Event | None:
        """Return the oldest event of the task that was not returned yet, of all streams that the follower reads.

        Return None if there is no further event yet, or NATS does not reply.
        """
        try:
            for reader in reversed(self._readers):  # in reverse: all that was appended before an event is read with it
                await reader.peek()
            ready = [reader for reader in self._readers if reader.next_event is not None]
            if not ready and not self._ended and await self._progress.is_deleted():
                raise TaskDeletedError(self._task_id)
        except nats.errors.ConnectionClosedError as error:
            what = "The connection to NATS was closed"
            raise UnreachableError(what, "connect again and follow the task again") from error
        except nats.errors.Error:
            return None  # the events are read after the outage
        if not ready:
            return None
        first = min(ready, key=lambda reader: reader.time + _delay_of(reader.next_event))
        event, first.next_event = first.next_event, None
        if isinstance(event, ProgressEvent):
            self._ended = event.state.ended
        return event

    async def _wait(self, pause: float) -> float:
        """Wait for a published event, at most `pause` seconds; return for how many seconds to wait the next time.

        The next pause is _MIN_PAUSE_S if an event was published, or else twice as long as this one, up to _MAX_PAUSE_S.
        """
        published = asyncio.ensure_future(self._partials.published.wait())
        try:
            await asyncio.wait([published], timeout=pause)  # wait_for sometimes swallows a cancellation (cpython#86296)
        finally:
            published.cancel()
        if not self._partials.published.is_set():
            return min(2 * pause, _MAX_PAUSE_S)
        self._partials.published.clear()
        return _MIN_PAUSE_S
