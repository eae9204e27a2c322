"""Transcribe windows of speech, several at the same time, and yield their texts in the order of the windows."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Protocol, TypeVar

from natscribe.schemas.transcription import TranscribeOptions

from app.engines.messages import StageAdvanced
from app.engines.window_queue import Rank
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import despite_cancellation, discard_all
from app.speech.window_sharing.idle_workers import LATE_S, IdleWorkerLostError

MAX_SEGMENTS_PER_TEXT = 50  # no text is merged into one of this size: a NATS message can hold far more
_READ_AHEAD = 2  # windows read from the source, as a multiple of what the transcribers have room for

Windows = AsyncGenerator[StageAdvanced | Window, None]
Item = TypeVar("Item", bound=StageAdvanced | WindowText)


class WindowTranscriber(Protocol):
    """Interface: transcribes windows of a `WindowPipeline`, with this worker's engine or on idle workers.

    A window is up to 20 s of speech. Idle workers are other workers without tasks of their own.
    """

    @property
    def room(self) -> int:
        """How many windows of one `WindowPipeline` the transcriber accepts at the same time."""

    @property
    def workers(self) -> int:
        """How many workers transcribe this transcriber's windows; an idle worker is counted after its first reply."""

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Transcribe a window and return its text; `previous`: the language spoken before it, None if unknown.

        Raises:
            IdleWorkerLostError: The window must be sent to another transcriber.
            TaskError: The engine failed, or it does not support the options.
        """


@dataclass(frozen=True, eq=False, slots=True)
class _Request:
    """A request to a transcriber for the text of one window; `reply` is the asyncio task that waits for the text.

    `previous`: the language that was assumed for the speech before the window, None if unknown.
    """

    previous: str | None
    reply: asyncio.Task[WindowText]
    sent_at: float = field(default_factory=time.monotonic)


@dataclass(eq=False, slots=True)
class _PendingWindow:
    """A window of speech that was read from the source and whose text is not yielded yet.

    `previous`: the language that was assumed for the speech before the window when its `text` was made. `requests`: the
    open requests for the text, by transcriber.
    """

    window: Window
    text: WindowText | None = None
    previous: str | None = None
    requests: dict[WindowTranscriber, _Request] = field(default_factory=dict)

    def assumes_other_than(self, language: str | None) -> bool:
        """Return whether the text is wrong because it was made for another language before the window than `language`.

        `language`: the language actually spoken before the window. Return False if the text does not depend on this
        language, or if there is no text yet.
        """
        return self.text is not None and not self.text.settled and self.previous != language


@dataclass(eq=False, slots=True)
class WindowPipeline:
    """Transcribes the windows of a recording or live stream with this worker's engine, and with idle workers.

    The text of a window may depend on the language before the window. If this language is not known yet when the window
    is sent, the latest known language is assumed. If the assumption turns out to be wrong, and the text depends on it,
    the window is sent again.

    A window is sent to this worker's engine, or, if that has no room, to an idle worker. In two cases a window that was
    sent to an idle worker is also sent to this worker's engine, and the first text counts. One is the first window
    without text, if the idle worker is late. The other is the last window, if this worker's engine has nothing to do.
    So no text waits long for a lost or slow worker.

    `windows`: the source of the windows. `own`: this worker's engine. `idle_workers`: None if work sharing is off.
    `language`: the language spoken before the first window, later that of the last yielded text. `rank`: the rank of
    the windows in the queue of this worker's engine.
    """

    windows: Windows
    own: WindowTranscriber
    idle_workers: WindowTranscriber | None
    options: TranscribeOptions
    language: str | None
    rank: Rank = field(default=Rank.OWN, kw_only=True)
    used_idle_workers: bool = field(default=False, init=False)  # whether any text so far comes from an idle worker
    _items: deque[_PendingWindow | StageAdvanced] = field(default_factory=deque, init=False)  # in the source's order
    _reading: asyncio.Task[StageAdvanced | Window | None] | None = field(default=None, init=False)
    _exhausted: bool = field(default=False, init=False)  # whether the source has ended
    _cancelled: list[asyncio.Task[WindowText]] = field(default_factory=list, init=False)  # another one was faster

    async def texts(self) -> AsyncGenerator[StageAdvanced | WindowText, None]:
        """Yield progress and texts in the order of the source; texts that are ready at the same time are merged.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        async with aclosing(self.windows):
            try:
                while self._items or not self._exhausted:
                    ready = self._take_ready()
                    self._read_ahead()
                    self._send()
                    for item in ready:
                        yield item
                    if self._items or not self._exhausted:
                        await self._wait()
            finally:
                # A caller that cancels may cancel again; but a source that is still running cannot be closed.
                await despite_cancellation(discard_all([*self._tasks(), *self._cancelled]))

    def _take_ready(self) -> list[StageAdvanced | WindowText]:
        """Remove and return the items that can be yielded: those before the first window without its final text.

        A text is not final if it was transcribed with the wrong language, because that of the window before it was not
        known yet. Then the window is sent again.
        """
        ready: list[StageAdvanced | WindowText] = []
        while self._items:
            first = self._items[0]
            if isinstance(first, StageAdvanced):
                ready.append(first)
            elif first.text is None:
                break
            elif first.assumes_other_than(self.language):
                self._resend()
                break
            else:
                self.language = first.text.language or self.language
                append_or_merge(ready, first.text.model_copy(update={"language": self.language}))
            self._items.popleft()
        return ready

    def _resend(self) -> None:
        """Send the first window without final text to this worker's engine again, because its text is wrong.

        Also resend the windows right after it, up to the first whose text is not wrong. A text is wrong if it depends
        on the language before the window, and another language was assumed.
        """
        wrong = takewhile(lambda pending: pending.assumes_other_than(self.language), list(self._pending()))
        for pending in wrong:
            pending.text = None
            self._request(pending, self.own, min(Rank.BLOCKING, self.rank))

    def _read_ahead(self) -> None:
        room = self.own.room + (self.idle_workers.room if self.idle_workers else 0)
        windows = sum(1 for _ in self._pending())
        if self._reading is None and not self._exhausted and windows < _READ_AHEAD * room:
            self._reading = asyncio.ensure_future(anext(self.windows, None))

    def _send(self) -> None:
        """Send the windows that are not sent yet, in order, to this worker's engine first, then to idle workers."""
        for pending in self._open():
            if pending.requests:
                continue
            if self._in_flight(self.own) < self._own_share():
                self._request(pending, self.own)
            elif self.idle_workers is not None and self._in_flight(self.idle_workers) < self.idle_workers.room:
                self._request(pending, self.idle_workers)
            else:
                return
        self._send_duplicate()

    def _send_duplicate(self) -> None:
        """Let this worker's engine, too, transcribe a window that was sent to an idle worker; the first text counts.

        This is the first window that has no text yet, if the idle worker has had it for more than LATE_S seconds.
        Otherwise, if the engine has no other window of this run, it is the last window that has no text yet. An idle
        worker is another worker, without tasks of its own.
        """
        waiting = list(self._open())
        if not waiting or self.own in waiting[0].requests:
            return
        if any(time.monotonic() - request.sent_at > LATE_S for request in waiting[0].requests.values()):
            self._request(waiting[0], self.own, Rank.BLOCKING)
        elif not any(self.own in pending.requests for pending in waiting):
            self._request(waiting[-1], self.own, Rank.DUPLICATE)

    def _own_share(self) -> int:
        """Return how many windows may be sent to this worker's engine at the same time: at most its `room`.

        With work sharing, it gets at most an equal share of the windows without text, so that this worker and the idle
        workers finish together.
        """
        if self.idle_workers is None:
            return self.own.room
        workers = self.own.workers + self.idle_workers.workers
        return min(self.own.room, math.ceil(sum(1 for _ in self._open()) / workers))

    def _in_flight(self, transcriber: WindowTranscriber) -> int:
        return sum(transcriber in pending.requests for pending in self._open())

    def _pending(self) -> Iterator[_PendingWindow]:
        return (item for item in self._items if isinstance(item, _PendingWindow))

    def _open(self) -> Iterator[_PendingWindow]:
        return (pending for pending in self._pending() if pending.text is None)

    def _request(self, pending: _PendingWindow, transcriber: WindowTranscriber, rank: Rank | None = None) -> None:
        rank = self.rank if rank is None else rank
        reply = asyncio.create_task(transcriber.transcribe(pending.window, self.options, self.language, rank))
        pending.requests[transcriber] = _Request(self.language, reply)

    async def _wait(self) -> None:
        """Wait for the source's next item or a reply, but at most LATE_S seconds; process everything that has arrived.

        Raises:
            TaskError: The recording cannot be read, or the engine failed.
        """
        await asyncio.wait(self._tasks(), return_when=asyncio.FIRST_COMPLETED, timeout=LATE_S)
        if self._reading is not None and self._reading.done():
            reading, self._reading = self._reading, None
            self._add(reading.result())
        for pending in list(self._open()):
            for transcriber, request in list(pending.requests.items()):
                if request.reply.done():
                    self._take_reply(pending, transcriber, request)

    def _add(self, item: StageAdvanced | Window | None) -> None:
        """Append the source's next item to the items to yield; None: the source has ended.

        If the last item to yield is a report of progress, a newer report replaces it.
        """
        if isinstance(item, StageAdvanced):
            if self._items and isinstance(self._items[-1], StageAdvanced):
                self._items.pop()
            self._items.append(item)
        elif item is not None:
            self._items.append(_PendingWindow(item))
        else:
            self._exhausted = True

    def _take_reply(self, pending: _PendingWindow, transcriber: WindowTranscriber, request: _Request) -> None:
        """Take the text of a window from a completed request, and cancel the window's other requests.

        If the request failed because an idle worker was lost, the window stays without text until another request is
        completed.

        Raises:
            TaskError: The engine failed.
        """
        pending.requests.pop(transcriber, None)
        if pending.text is not None:
            return
        try:
            pending.text, pending.previous = request.reply.result(), request.previous
        except IdleWorkerLostError:
            return
        self.used_idle_workers = self.used_idle_workers or transcriber is not self.own
        for other in pending.requests.values():
            other.reply.cancel()
            self._cancelled.append(other.reply)
        pending.requests.clear()

    def _tasks(self) -> list[asyncio.Task[WindowText] | asyncio.Task[StageAdvanced | Window | None]]:
        """Return the asyncio tasks to wait for: open requests, and the reading of the source's next item, if any."""
        replies = [request.reply for pending in self._open() for request in pending.requests.values()]
        return [*replies, *([self._reading] if self._reading is not None else [])]


def append_or_merge(items: list[Item | WindowText], text: WindowText) -> None:
    """Append a text to `items`, or merge it into their last item if that is a text of the same channel.

    Nothing is merged into a text with MAX_SEGMENTS_PER_TEXT segments or more. Each text becomes a message in the task's
    log, so fewer texts are better; but the size of a message is limited.
    """
    last = items[-1] if items else None
    if isinstance(last, WindowText) and last.channel == text.channel and len(last.segments) < MAX_SEGMENTS_PER_TEXT:
        lists = ("segments", "untranscribed", "entities")
        items[-1] = text.model_copy(update={name: [*getattr(last, name), *getattr(text, name)] for name in lists})
    else:
        items.append(text)
