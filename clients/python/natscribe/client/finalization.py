"""Waits until the text of a live task is final up to the frames with which the client has requested it."""

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import aclosing

from natscribe.client.errors import ClientError
from natscribe.client.following import Follower
from natscribe.schemas.headers import MARK_PATTERN
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.transcription import SegmentsEvent


class Finalization:
    """Follows a live task from the first mark on, and tells each caller when the text up to its mark is final.

    `ended`: returns the error for callers whose text is not final when the task ends.
    """

    def __init__(self, follower: Follower, ended: Callable[[ProgressEvent], ClientError]) -> None:
        self._follower = follower
        self._ended = ended
        self._waiting = defaultdict[str, deque["asyncio.Future[None]"]](deque)  # the same mark may be sent twice
        self._following: asyncio.Task[None] | None = None
        self._failure: ClientError | None = None

    async def expect(self, mark: str) -> "asyncio.Future[None]":
        """Return a future that is done when an event has the mark, in a frame that the caller has yet to publish.

        Raises:
            ClientError: The mark is invalid, or the task has ended.
        """
        if not re.fullmatch(MARK_PATTERN, mark):
            message = f"{mark!r} is no mark: choose 1 to 64 printable characters of ASCII, without a space at the ends."
            raise ClientError(message)
        if self._following is None:
            await self._follower.skip_past_events()
            self._following = asyncio.create_task(self._follow())
        if self._failure is not None:
            raise self._failure
        final = asyncio.get_running_loop().create_future()
        self._waiting[mark].append(final)
        return final

    async def close(self) -> None:
        """Stop following the task; calls that still wait are cancelled."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        for futures in self._waiting.values():
            for final in futures:
                final.cancel()

    async def _follow(self) -> None:
        """Follow the task until it ends; then all calls that still wait fail."""
        try:
            async with aclosing(self._follower.events()) as events:
                async for event in events:
                    if isinstance(event, SegmentsEvent):
                        self._note(event.finalized)
                    elif event.state.ended:
                        self._fail(self._ended(event))
        except ClientError as error:  # the task was deleted, or the connection was closed
            self._fail(error)

    def _fail(self, error: ClientError) -> None:
        self._failure = error
        for final in (final for futures in self._waiting.values() for final in futures if not final.done()):
            final.set_exception(error)

    def _note(self, marks: list[str]) -> None:
        for mark in marks:
            final = self._waiting[mark].popleft() if self._waiting[mark] else None
            if final is not None and not final.done():
                final.set_result(None)
