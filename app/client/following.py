"""Following a task: its two logs merged, from the first entry to the last, through outages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.api import RawStreamMsg

from app.client.errors import TaskDeletedError, UnreachableError
from app.jetstream.stream_pages import last, next_from
from app.jetstream.streams import names
from app.settings import Settings
from schemas import subjects
from schemas.progress import ProgressEvent
from schemas.transcription import SegmentsEvent

Event = TypeVar("Event", ProgressEvent, SegmentsEvent)
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds; a published event ends a pause early
_DAWN = datetime.min.replace(tzinfo=UTC)


@dataclass
class _Log(Generic[Event]):
    """Reads a log by asking for the entry after the last one: nothing on the server to lose or to clean up."""

    connection: Nats
    stream: str
    subject: str
    type: type[Event]
    head: Event | None = None
    time: datetime = _DAWN
    after: int = 0

    async def look(self) -> Event | None:
        """The next entry, if it is there."""
        while self.head is None:
            entry = await next_from(self.connection, self.stream, self.subject, self.after + 1)
            if entry is None:
                return None
            self.after, self.time = entry.seq or 0, entry.time or _DAWN
            self.head = self._event(entry)
        return self.head

    def _event(self, entry: RawStreamMsg) -> Event | None:
        """What the service says of this task, None for what others have put there."""
        with suppress(ValueError):
            event = self.type.model_validate_json(entry.data or b"")
            if self.subject.endswith(f".{event.task_id}"):
                return event
        return None

    async def is_gone(self) -> bool:
        """Whether nothing is left of what was read."""
        return bool(self.after) and await last(self.connection, self.stream, self.subject) is None

    def take(self) -> None:
        """Go on to the entry after the one that was looked at."""
        self.head = None


class Follower:
    """What happens to one task."""

    def __init__(self, connection: Nats, settings: Settings, task_id: str) -> None:
        called = names(settings)
        self._connection = connection
        self._progress = _Log(connection, called.progress, subjects.progress(task_id), ProgressEvent)
        self._segments = _Log(connection, called.segments, subjects.segments(task_id), SegmentsEvent)
        self._news = asyncio.Event()
        self._ended = False

    async def events(self) -> AsyncGenerator[ProgressEvent | SegmentsEvent]:
        """Yield what has happened and what happens, in order, until the task has ended.

        Raises TaskDeletedError where nothing is left of it, UnreachableError where the connection was closed.
        """
        heard = [
            await self._connection.subscribe(log.subject, cb=self._hear) for log in (self._progress, self._segments)
        ]
        pause = FIRST_PAUSE
        try:
            while True:
                event = await self._next()
                if event is not None:
                    pause = FIRST_PAUSE
                    yield event
                elif self._ended:
                    return
                else:
                    pause = await self._wait(pause)
        finally:
            for subscription in heard:
                with suppress(nats.errors.ConnectionClosedError):  # it went with the connection
                    await subscription.unsubscribe()

    async def _hear(self, _: Msg) -> None:
        self._news.set()

    async def _next(self) -> ProgressEvent | SegmentsEvent | None:
        try:
            # In this order: segments are appended before the event that ends the task.
            event, found = await self._progress.look(), await self._segments.look()
            nothing_new = event is None and found is None and not self._ended
            deleted = nothing_new and await self._progress.is_gone()
        except nats.errors.ConnectionClosedError as error:
            message = "The connection to NATS was closed: connect again and follow the task anew."
            raise UnreachableError(message) from error
        except nats.errors.Error:
            return None  # an outage: what is missed now is read later
        if deleted:
            raise TaskDeletedError(self._progress.subject.rpartition(".")[2])
        if found is not None and (event is None or self._segments.time <= self._progress.time):
            self._segments.take()
            return found
        if event is not None:
            self._progress.take()
            self._ended = event.state.ended
        return event

    async def _wait(self, pause: float) -> float:
        try:
            async with asyncio.timeout(pause):  # asyncio.wait_for swallows a cancellation now and then (cpython#86296)
                await self._news.wait()
        except TimeoutError:
            return min(2 * pause, LONGEST_PAUSE)
        self._news.clear()
        return FIRST_PAUSE
