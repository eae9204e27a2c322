"""The search for speakers of a transcript, beside the transcription or after it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Self

from app.cancellation import cancel_all
from app.engines.messages import DiarizationDone, StageAdvanced
from app.errors import TaskError
from schemas.diarization import Turn
from schemas.errors import ErrorDetail


class SpeakerSearch:
    """Diarizes in a task of its own; after that there are `turns`, or an `error`, which leaves the transcript alone.

    As a context manager it ends what it has begun.
    """

    def __init__(self, replies: AsyncGenerator[StageAdvanced | DiarizationDone, None]) -> None:
        self.turns: Sequence[Turn] | None = None
        self.cached = False
        self.error: ErrorDetail | None = None
        self._replies = replies
        self._task: asyncio.Task[None] | None = None
        self._latest: StageAdvanced | None = None
        self._moved = asyncio.Event()

    @property
    def begun(self) -> bool:
        """Whether it is under way or done."""
        return self._task is not None

    @property
    def fraction(self) -> float:
        """The part that is done."""
        if self._task is not None and self._task.done():
            return 1.0
        latest = self._latest
        if latest is None or not latest.duration_seconds:
            return 0.0
        return min(latest.processed_seconds / latest.duration_seconds, 1.0)

    def begin(self) -> None:
        """Search beside whatever else is done."""
        if self._task is None:
            self._task = asyncio.create_task(self._search())
            self._task.add_done_callback(lambda _: self._moved.set())

    async def news(self) -> AsyncGenerator[StageAdvanced, None]:
        """Search to the end, and yield how far it is."""
        self.begin()
        task, told = self._task, None
        while task is not None and not task.done():
            self._moved.clear()
            if self._latest is not None and self._latest is not told:
                told = self._latest
                yield told
            else:
                await self._moved.wait()
        if task is not None:
            await task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            await cancel_all([self._task])
        await self._replies.aclose()

    async def _search(self) -> None:
        try:
            async with aclosing(self._replies) as replies:
                async for reply in replies:
                    match reply:
                        case StageAdvanced():
                            self._latest = reply
                            self._moved.set()
                        case DiarizationDone():
                            self.turns, self.cached = reply.turns, reply.cached
        except TaskError as error:
            self.error = error.detail
