"""The queue of windows that wait for a worker's engine, whose transcription process takes them in batches.

A window is up to 20 s of speech. A model transcribes a batch of windows faster than the same windows one by one, and no
window's text depends on the other windows. So a batch contains windows of all tasks that wait, up to a limit; the queue
never waits for more windows.
"""

import asyncio
from collections.abc import Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import IntEnum

from natscribe.schemas.transcription import TranscribeOptions

from app.engines.engine import Engine, run_job
from app.engines.messages import Transcribe, WindowsTranscribed
from app.engines.text.filters import filtered
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import cancel_all

BATCH_S = 10.0  # how long transcribing a batch should take
ABANDONED_S = 120.0  # a batch without callers is stopped at the latest after this time
POLL_EVERY_S = 1.0  # how often the callers of the running batch are checked
LIVE_S = 10.0  # after a live window, batches of recordings are short for so long: more live windows will come


class Rank(IntEnum):
    """The priority of a window in the queue: the lower its rank, the sooner it is transcribed."""

    LIVE = 0  # final text of a live task
    INTERIM = 1  # interim pass of a live task; alternates with recordings
    BLOCKING = 2  # of a task of this worker, whose later texts all wait for this one
    OWN = 3  # of a task of this worker
    DUPLICATE = 4  # of a task of this worker, while an idle worker transcribes the window, too
    SHARED = 5  # of a task of another worker

    @property
    def is_live(self) -> bool:
        """Whether a window of this rank belongs to a live task."""
        return self in {Rank.LIVE, Rank.INTERIM}


@dataclass(eq=False, slots=True)
class _WaitingWindow:
    """A window that waits in the queue or is being transcribed; `text`: a future that will yield its text.

    `previous`: the language spoken before the window, None if unknown. `context`: the context variables for log lines,
    which name the task.
    """

    window: Window
    options: TranscribeOptions
    previous: str | None
    rank: Rank
    text: asyncio.Future[WindowText]
    context: Context = field(default_factory=copy_context)

    @property
    def batch_key(self) -> tuple[TranscribeOptions, bool, bool]:
        """What all windows of a batch must have in common: options, live or not, interim or not."""
        return self.options, self.rank.is_live, self.rank is Rank.INTERIM


class WindowQueue:
    """Windows of speech that wait for one engine, which transcribes them in batches, one batch after the other.

    `at_once`: how many windows of a batch the engine transcribes at the same time. `largest`: the most windows in a
    batch.
    """

    workers = 1  # how many workers transcribe windows of this queue

    def __init__(self, engine: Engine, *, at_once: int, largest: int) -> None:
        self._engine = engine
        self._at_once = at_once
        self._limit = largest
        self._batch_size: int | None = None  # None: it is not known how long a window takes
        self._model: str | None = None  # the model to which the batch size applies
        self._waiting: list[_WaitingWindow] = []
        self._batch: list[_WaitingWindow] = []  # the windows that are being transcribed
        self._job: asyncio.Task[WindowsTranscribed] | None = None
        self._work: asyncio.Task[None] | None = None
        self._closed = False
        self._live_until = 0.0  # on the clock of the loop
        self._interim_last = False  # whether the last batch that was not LIVE was INTERIM

    @property
    def room(self) -> int:
        """How many windows of one recording or live task to queue at the same time: enough for two batches."""
        return 2 * (self._batch_size or self._at_once)

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank = Rank.OWN
    ) -> WindowText:
        """Queue a window, wait for its turn, and return its text.

        `previous`: the language spoken before the window, None if unknown. `rank`: the priority of the window; by
        default that of a window of a recording whose task this worker runs.

        When all callers that wait for the running batch are cancelled, it is stopped at once if all its windows have
        the rank `OWN`. Any other batch is stopped only once it has run for two minutes, because the engine must load
        its model again after a batch was stopped, which may delay live tasks.

        Raises:
            TaskError: The engine failed, or it does not support the options.
            CancelledError: The queue is closed.
        """
        loop = asyncio.get_running_loop()
        waiting = _WaitingWindow(window, options, previous, rank, loop.create_future())
        if rank.is_live:
            self._live_until = loop.time() + LIVE_S
        if self._closed:
            waiting.text.cancel()
        self._waiting.append(waiting)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._transcribe_all(), context=Context())
        try:
            return await waiting.text
        finally:
            self._abandon(waiting)

    async def close(self) -> None:
        """Stop the running batch, and cancel all calls of `transcribe`: those that wait, and all later ones."""
        self._closed = True
        for waiting in (*self._waiting, *self._batch):
            waiting.text.cancel()
        if self._work is not None:
            await cancel_all([self._work])

    def _abandon(self, waiting: _WaitingWindow) -> None:
        waiting.text.cancel()
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        # A batch with other ranks is not stopped: live windows are short, and loading the model again would delay the
        # other live streams.
        elif self._job is not None and self._is_abandoned and all(item.rank is Rank.OWN for item in self._batch):
            self._job.cancel()

    @property
    def _is_abandoned(self) -> bool:
        return all(waiting.text.cancelled() for waiting in self._batch)

    async def _transcribe_all(self) -> None:
        while self._waiting:
            self._batch = self._next_batch()
            for waiting in self._batch:
                self._waiting.remove(waiting)
            await self._transcribe(self._batch)
            self._batch = []

    def _next_batch(self) -> list[_WaitingWindow]:
        """Choose the windows of the next batch: the lowest rank first, and within a rank the oldest first.

        Batches of interim passes, for partial results of live tasks, alternate with batches of recordings: otherwise
        live speech could take all the time.
        """
        in_order = sorted(self._waiting, key=lambda waiting: (self._must_wait(waiting.rank), waiting.rank))
        first = in_order[0]
        if first.rank is not Rank.LIVE:
            self._interim_last = first.rank is Rank.INTERIM
        if first.options.model != self._model:
            self._model, self._batch_size = first.options.model, None
        short = not first.rank.is_live and asyncio.get_running_loop().time() < self._live_until
        size = self._at_once if short else self._batch_size or self._at_once
        return [waiting for waiting in in_order if waiting.batch_key == first.batch_key][:size]

    def _must_wait(self, rank: Rank) -> bool:
        """Return whether windows of this rank must wait while windows of other ranks are queued.

        Batches of interim passes and batches of recordings take turns: after a batch of one kind, windows of that kind
        wait for windows of the other kind. Windows of the rank LIVE never wait.
        """
        return rank is not Rank.LIVE and (rank is Rank.INTERIM) == self._interim_last

    async def _transcribe(self, batch: list[_WaitingWindow]) -> None:
        job = Transcribe(
            windows=[waiting.window for waiting in batch],
            previous=[waiting.previous for waiting in batch],
            options=batch[0].options,
            interim=batch[0].rank is Rank.INTERIM,
        )
        work = run_job(self._engine, job, WindowsTranscribed)
        self._job = asyncio.create_task(work, context=batch[0].context)
        started = asyncio.get_running_loop().time()
        try:
            while not self._job.done():
                await asyncio.wait([self._job], timeout=POLL_EVERY_S)
                if self._is_abandoned and asyncio.get_running_loop().time() - started > ABANDONED_S:
                    break
        finally:
            await cancel_all([self._job])
        job_task, self._job = self._job, None
        if not job_task.cancelled():
            self._deliver(batch, job_task)

    def _deliver(self, batch: Sequence[_WaitingWindow], job: asyncio.Task[WindowsTranscribed]) -> None:
        """Give each window of a batch its text, as all filters leave it, or the error of the batch."""
        error = job.exception()
        texts = list[WindowText]()
        if error is None:
            try:
                texts = [filtered(text, batch[0].options) for text in job.result().texts]
            except Exception as broken:  # noqa: BLE001 -- whatever the error, those who wait must get it
                error = broken
        if error is None and len(texts) != len(batch):
            error = RuntimeError(f"the engine has written {len(texts)} texts for {len(batch)} windows")
        for number, waiting in enumerate(batch):
            if waiting.text.done():
                continue
            if error is not None:
                waiting.text.set_exception(error)
            else:
                waiting.text.set_result(texts[number])
        if error is None and not batch[0].rank.is_live:  # live windows are shorter
            self._choose_size(job.result())

    def _choose_size(self, reply: WindowsTranscribed) -> None:
        """Choose the size of later batches by how many seconds this batch took per window.

        A batch without any text is ignored, because windows without text take less time than others.
        """
        if any(text.segments for text in reply.texts):
            seconds = max(reply.seconds / len(reply.texts), 1e-3)
            rounds = max(int(BATCH_S / seconds / self._at_once), 1)
            self._batch_size = min(rounds * self._at_once, self._limit)
