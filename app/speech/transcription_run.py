"""The run over the windows of a source: it has some transcribed ahead, and yields their texts in the source's order."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol, TypeVar

from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.cancellation import despite_cancellation, discard_all
from app.engines.messages import StageAdvanced
from app.engines.window_queue import Rank
from app.work_sharing.idle_workers import LATE_S, IdleWorkerLostError

MAX_SEGMENTS_PER_TEXT = 50  # a text takes up no more once it has so many: far less than a NATS message can hold
_AHEAD = 2  # windows may be taken from the source up to this many times what the transcribers have room for

Windows = AsyncGenerator[StageAdvanced | Window, None]
Item = TypeVar("Item", bound=StageAdvanced | WindowText)


class WindowTranscriber(Protocol):
    """What transcribes single windows: this worker's engine, or its helpers."""

    @property
    def room(self) -> int:
        """How many windows of a run the transcriber may have at the same time."""
        ...

    @property
    def workers(self) -> int:
        """How many workers share the windows that this transcriber gets, as far as known."""
        ...

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Return the text of a window; `previous` is the language spoken before the window, as far as known.

        Raises:
            HelperLostError: Another transcriber must transcribe the window.
            TaskError: The engine failed, or it cannot follow the options.
        """
        ...


@dataclass(frozen=True, eq=False, slots=True)
class _Request:
    """A request to a transcriber for one window; `previous` is the language that was assumed before the window."""

    previous: str | None
    answer: asyncio.Task[WindowText]
    at: float = field(default_factory=time.monotonic)


@dataclass(eq=False, slots=True)
class _HeldWindow:
    """A window that the run has, from the source until its text is yielded.

    `previous` is the language before the window that its `text` assumes.
    """

    window: Window
    text: WindowText | None = None
    previous: str | None = None
    requests: dict[WindowTranscriber, _Request] = field(default_factory=dict)  # those that are not answered yet

    def assumes_other_than(self, language: str | None) -> bool:
        """Whether the text assumes another language before the window than `language`, and depends on it."""
        return self.text is not None and not self.text.settled and self.previous != language


class TranscriptionRun:
    """A run over the windows of one source; `language` is the language spoken last, as far as known.

    The text of a window may depend on the language before the window, which may not be known yet when the window is
    sent: then the latest known language is assumed. If the language before the window proves to be another one, and the
    text of the window depends on it, the window is sent again.

    A window goes to the own engine, or to a helper if the own engine has no room. The own engine also gets the first
    window if a helper is late with it, and, while the own engine has no window, the last one that a helper has; the
    first text counts. So a text waits for a lost or slow helper only for seconds.
    """

    def __init__(  # noqa: PLR0913 -- what is transcribed, by whom, and how
        self,
        windows: Windows,
        own: WindowTranscriber,
        helpers: WindowTranscriber | None,
        options: TranscribeOptions,
        language: str | None,
        *,
        rank: Rank = Rank.OWN,
    ) -> None:
        """`own` is this worker's engine; `helpers` is null if work sharing is off.

        `language`: the language spoken before the first window. `rank`: that of the windows in the own engine's queue.
        """
        self._rank = rank
        self._windows = windows
        self._own = own
        self._helpers = helpers
        self._options = options
        self.language = language
        self.helped = False  # whether a helper has given any text so far
        self._items: deque[_HeldWindow | StageAdvanced] = deque()  # what is to be yielded, in the source's order
        self._reading: asyncio.Task[StageAdvanced | Window | None] | None = None
        self._complete = False  # whether the source has ended
        self._unwanted: list[asyncio.Task[WindowText]] = []  # cancelled, because another transcriber was faster

    async def texts(self) -> AsyncGenerator[StageAdvanced | WindowText, None]:
        """Yield progress and texts in the order of the source; merge texts that are ready at the same time.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        async with aclosing(self._windows):
            try:
                while self._items or not self._complete:
                    ready = self._ready()
                    self._read()
                    self._send()
                    for each in ready:
                        yield each
                    if self._items or not self._complete:
                        await self._wait()
            finally:
                # Whoever cancels a run repeats it; but a source that still runs cannot be closed.
                await despite_cancellation(discard_all([*self._tasks(), *self._unwanted]))

    def _ready(self) -> list[StageAdvanced | WindowText]:
        """Remove and return the items up to the first window that has no text yet, or must be sent again."""
        ready: list[StageAdvanced | WindowText] = []
        while self._items:
            first = self._items[0]
            if isinstance(first, StageAdvanced):
                ready.append(first)
            elif first.text is None:
                break
            elif first.assumes_other_than(self.language):
                self._send_again()
                break
            else:
                self.language = first.text.language or self.language
                append_or_merge(ready, first.text.model_copy(update={"language": self.language}))
            self._items.popleft()
        return ready

    def _send_again(self) -> None:
        """Send the first windows again, as many in a row as have a text that assumes a wrong language."""
        wrong = takewhile(
            lambda held: held.assumes_other_than(self.language),
            (each for each in list(self._items) if isinstance(each, _HeldWindow)),
        )
        for held in wrong:
            held.text = None
            self._ask(held, self._own, min(Rank.BLOCKING, self._rank))

    def _read(self) -> None:
        room = self._own.room + (self._helpers.room if self._helpers else 0)
        windows = sum(isinstance(each, _HeldWindow) for each in self._items)
        if self._reading is None and not self._complete and windows < _AHEAD * room:
            self._reading = asyncio.ensure_future(anext(self._windows, None))

    def _send(self) -> None:
        """Send windows to transcribers that have room, in the source's order: first to the own engine."""
        for held in self._open():
            if held.requests:
                continue
            if self._count(self._own) < self._own_share():
                self._ask(held, self._own)
            elif self._helpers is not None and self._count(self._helpers) < self._helpers.room:
                self._ask(held, self._helpers)
            else:
                return
        self._send_twice(list(self._open()))

    def _send_twice(self, waiting: Sequence[_HeldWindow]) -> None:
        """Send a window that a helper has to the own engine, too.

        That is the first window if the helper is late with it, or the last one if the own engine has no window.
        """
        if not waiting or self._own in waiting[0].requests:
            return
        if any(time.monotonic() - request.at > LATE_S for request in waiting[0].requests.values()):
            self._ask(waiting[0], self._own, Rank.BLOCKING)
        elif not any(self._own in held.requests for held in waiting):
            self._ask(waiting[-1], self._own, Rank.DUPLICATE)

    def _own_share(self) -> int:
        """Return how many windows the own engine may have: its equal share, so that all workers end together."""
        if self._helpers is None:
            return self._own.room
        workers = self._own.workers + self._helpers.workers
        return min(self._own.room, math.ceil(sum(1 for _ in self._open()) / workers))

    def _count(self, transcriber: WindowTranscriber) -> int:
        return sum(transcriber in held.requests for held in self._open())

    def _open(self) -> Iterator[_HeldWindow]:
        return (each for each in self._items if isinstance(each, _HeldWindow) and each.text is None)

    def _ask(self, held: _HeldWindow, transcriber: WindowTranscriber, rank: Rank | None = None) -> None:
        work = transcriber.transcribe(held.window, self._options, self.language, self._rank if rank is None else rank)
        held.requests[transcriber] = _Request(self.language, asyncio.create_task(work))

    async def _wait(self) -> None:
        """Wait, ten seconds at most, for an item of the source or a text of a transcriber; take all that have come.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED, timeout=LATE_S)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            item = reading.result()
            if item is None:
                self._complete = True
            else:
                self._add(_HeldWindow(item) if isinstance(item, Window) else item)
        for held in list(self._open()):
            for transcriber, request in list(held.requests.items()):
                if request.answer.done():
                    self._take(held, transcriber, request)

    def _add(self, item: _HeldWindow | StageAdvanced) -> None:
        """Add an item of the source; progress replaces progress just before it that was not yielded yet."""
        if self._items and isinstance(item, StageAdvanced) and isinstance(self._items[-1], StageAdvanced):
            self._items.pop()
        self._items.append(item)

    def _take(self, held: _HeldWindow, transcriber: WindowTranscriber, request: _Request) -> None:
        """Take the text of a window from a request that is done, and cancel the window's other requests.

        If the helper is lost, the window waits for another transcriber.

        Raises:
            TaskError: The engine failed.
        """
        held.requests.pop(transcriber, None)
        if held.text is not None:
            return
        try:
            held.text, held.previous = request.answer.result(), request.previous
        except IdleWorkerLostError:
            return
        self.helped = self.helped or transcriber is not self._own
        for other in held.requests.values():
            other.answer.cancel()
            self._unwanted.append(other.answer)
        held.requests.clear()

    def _tasks(self) -> list[asyncio.Task[WindowText] | asyncio.Task[StageAdvanced | Window | None]]:
        """Return the asyncio tasks that are under way: requests, and the reading of the source."""
        asked = [request.answer for held in self._open() for request in held.requests.values()]
        return [*asked, *([self._reading] if self._reading is not None else [])]


def append_or_merge(found: list[Item | WindowText], text: WindowText) -> None:
    """Add a text to `found`, or join it to the last one if both are of one channel.

    A text with SEGMENTS_AT_ONCE segments or more gets no more.

    Each text becomes an append, so fewer texts are better; but a message can hold only so many segments.
    """
    last = found[-1] if found else None
    if isinstance(last, WindowText) and last.channel == text.channel and len(last.segments) < MAX_SEGMENTS_PER_TEXT:
        segments, untranscribed = [*last.segments, *text.segments], [*last.untranscribed, *text.untranscribed]
        found[-1] = text.model_copy(update={"segments": segments, "untranscribed": untranscribed})
    else:
        found.append(text)
