"""The queue in front of the transcribing process: it forms a batch of the windows that wait, whoever has sent them.

A model transcribes several windows in less time than one by one, and no window's text depends on its batch. So the
engine takes what waits, up to a limit, and never waits for more.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import IntEnum

from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.cancellation import cancel_all
from app.engines.engine import Engine, run_job
from app.engines.messages import Transcribe, WindowsTranscribed

_BATCH_S = 10.0  # how long transcribing a batch should take
_UNWANTED_S = 120.0  # a batch that nobody wants any longer may take this long before it is stopped in any case
_LOOK_EVERY_S = 1.0  # pause between two looks whether it has
_LIVE_S = 10.0  # after a live window, batches of recordings are short for so long: more live windows will come


class Rank(IntEnum):
    """Which windows are transcribed first: those of the lowest number."""

    LIVE = 0  # somebody waits for the text while people speak
    INTERIM = 1  # the same, and the utterance is not over yet: in turns with recordings
    BLOCKING = 2  # of a task of this worker, whose later texts all wait for this one
    OWN = 3  # of a task of this worker
    DUPLICATE = 4  # the same, while a helper has the window, too
    SHARED = 5  # of another worker


# If nobody wants a batch of such windows, the engine is stopped. Live windows are short, and loading the model again
# would delay the other live streams.
_STOPS = {Rank.OWN}
_LIVE = {Rank.LIVE, Rank.INTERIM}


@dataclass(eq=False, slots=True)
class _WaitingWindow:
    """A window that waits for its text, or that is being transcribed."""

    window: Window
    options: TranscribeOptions
    previous: str | None
    rank: Rank
    interim: bool
    text: asyncio.Future[WindowText]
    context: Context = field(default_factory=copy_context)  # for log lines, which name the task

    def goes_with(self, other: "_WaitingWindow") -> bool:
        """Whether both may be in one batch: they have the same options, and both are finals, drafts or recordings'."""
        same = (self.options, self.interim) == (other.options, other.interim)
        return same and (self.rank in _LIVE) == (other.rank in _LIVE)


class WindowQueue:
    """Windows that wait for one engine, which transcribes them in batches, one batch after the other.

    `at_once`: how many windows the engine transcribes at the same time. `largest`: the most windows in a batch.
    """

    def __init__(self, engine: Engine, *, at_once: int, largest: int) -> None:
        self._engine = engine
        self._at_once = at_once
        self._most = largest
        self._largest: int | None = None  # null: it is not known how long a window takes
        self._model: str | None = None  # the model to which that applies
        self._waiting: list[_WaitingWindow] = []
        self._batch: list[_WaitingWindow] = []  # the windows that are being transcribed
        self._job: asyncio.Task[WindowsTranscribed] | None = None
        self._work: asyncio.Task[None] | None = None
        self._closed = False
        self._live_until = 0.0  # on the clock of the loop
        self._interim_last = False  # whether the last batch that was not LIVE had drafts

    @property
    def room(self) -> int:
        """How many windows a run may have here at the same time: those of two batches."""
        return 2 * (self._largest or self._at_once)

    @property
    def workers(self) -> int:
        """How many workers transcribe windows of this queue: always 1, this worker."""
        return 1

    async def transcribe(
        self,
        window: Window,
        options: TranscribeOptions,
        previous: str | None,
        rank: Rank = Rank.OWN,
        *,
        interim: bool = False,
    ) -> WindowText:
        """Return the text of a window; `previous` is the language spoken before the window, as far as known.

        `interim`: quickly, because a better text follows.

        A batch is stopped when all callers that wait for its windows are cancelled. The engine must then load its model
        again, so this happens at once only if all windows have the rank `OWN`, else when the batch takes two minutes.

        Raises:
            TaskError: The engine failed, or it cannot follow the options.
            CancelledError: The queue is closed.
        """
        loop = asyncio.get_running_loop()
        waiting = _WaitingWindow(window, options, previous, rank, interim, loop.create_future())
        if rank in _LIVE:
            self._live_until = loop.time() + _LIVE_S
        if self._closed:
            waiting.text.cancel()
        self._waiting.append(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._transcribe_all(), context=Context())
        try:
            return await waiting.text
        finally:
            self._give_up(waiting)

    async def close(self) -> None:
        """Stop the running batch, and cancel all callers that wait for a text, and all later callers."""
        self._closed = True
        for waiting in (*self._waiting, *self._batch):
            waiting.text.cancel()
        await cancel_all([task for task in (self._work,) if task is not None])

    def _give_up(self, waiting: _WaitingWindow) -> None:
        waiting.text.cancel()
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        elif self._job is not None and self._unwanted and all(each.rank in _STOPS for each in self._batch):
            self._job.cancel()

    @property
    def _unwanted(self) -> bool:
        return all(each.text.cancelled() for each in self._batch)

    async def _transcribe_all(self) -> None:
        while self._waiting:
            self._batch = list(self._next())
            for waiting in self._batch:
                self._waiting.remove(waiting)
            await self._transcribe(self._batch)
            self._batch = []

    def _next(self) -> Iterator[_WaitingWindow]:
        """Yield the windows of the next batch: those of the lowest rank first, and within a rank the oldest first.

        Batches of drafts and of recordings alternate: people speak on, and their drafts would leave recordings no time.
        """
        in_order = sorted(self._waiting, key=lambda each: (self._must_wait(each), each.rank))
        first = in_order[0]
        if first.rank is not Rank.LIVE:
            self._interim_last = first.rank is Rank.INTERIM
        if first.options.model != self._model:
            self._model, self._largest = first.options.model, None
        short = first.rank not in _LIVE and asyncio.get_running_loop().time() < self._live_until
        most = self._at_once if short else self._largest or self._at_once
        yield from [each for each in in_order if each.goes_with(first)][:most]

    def _must_wait(self, each: _WaitingWindow) -> bool:
        """Whether a window lets others go first: a draft after a batch of drafts, a recording's after a recording's."""
        return each.rank is not Rank.LIVE and (each.rank is Rank.INTERIM) == self._interim_last

    async def _transcribe(self, batch: list[_WaitingWindow]) -> None:
        job = Transcribe(
            windows=[each.window for each in batch],
            previous=[each.previous for each in batch],
            options=batch[0].options,
            interim=batch[0].interim,
        )
        work = run_job(self._engine, job, WindowsTranscribed)
        self._job = asyncio.create_task(work, context=batch[0].context)
        began = asyncio.get_running_loop().time()
        try:
            while not self._job.done():
                await asyncio.wait([self._job], timeout=_LOOK_EVERY_S)
                if self._unwanted and asyncio.get_running_loop().time() - began > _UNWANTED_S:
                    break
        finally:
            await cancel_all([self._job])
        ended, self._job = self._job, None
        if not ended.cancelled():
            self._deliver(batch, ended)

    def _deliver(self, batch: Sequence[_WaitingWindow], ended: asyncio.Task[WindowsTranscribed]) -> None:
        """Give each window of a batch its text, or the error of the batch."""
        error = ended.exception()
        texts = [] if error is not None else ended.result().texts
        if error is None and len(texts) != len(batch):
            error = RuntimeError(f"the engine has written {len(texts)} texts for {len(batch)} windows")
        for number, waiting in enumerate(batch):
            if waiting.text.done():
                continue
            if error is not None:
                waiting.text.set_exception(error)
            else:
                waiting.text.set_result(texts[number])
        if error is None and batch[0].rank not in _LIVE:  # live windows are shorter
            self._measure(ended.result())

    def _measure(self, found: WindowsTranscribed) -> None:
        """Choose the size of the next batches by the seconds that a window took; a batch without text is no measure."""
        if any(text.segments for text in found.texts):
            seconds = max(found.seconds / len(found.texts), 1e-3)
            rounds = max(int(_BATCH_S / seconds / self._at_once), 1)
            self._largest = min(rounds * self._at_once, self._most)
