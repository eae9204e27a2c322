"""Sends windows of a recording to idle workers, which transcribe them for a busy worker, by NATS request/reply.

A window is up to 20 s of speech. Each window is a request to the queue group of all idle workers with the same model,
so NATS chooses the worker; if no worker is idle, NATS reports this at once. No list of idle workers exists: each reply
names its worker, and the number of different workers that have replied limits the number of pending requests.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from faststream.nats.publisher.usecase import LogicPublisher
from nats.errors import Error as NatsError
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.wire import Model

from app.engines.window_queue import Rank
from app.engines.windows import MAX_TEXT_CHARS, Window, WindowReply, WindowRequest, WindowText

FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 30.0  # pause after a request without a text; doubles each time
MAX_WAIT_S = 120.0  # the most time that an idle worker gets for a window
LATE_S = 10.0  # an idle worker that takes longer is late: all later texts may wait for its window
MAX_CONCURRENT_WINDOWS = 2  # of other workers on an idle worker, whose next task waits for no more than these
WINDOWS_PER_IDLE_WORKER = 2 * MAX_CONCURRENT_WINDOWS  # pending windows of each idle worker
MAX_IDLE_WORKERS = 8  # limits memory: the run holds each window until it is transcribed
_ROUNDING_S = 0.002  # rounded times may lie outside of their window by this much

log = structlog.get_logger()


class IdleWorkerLostError(Exception):
    """No idle worker has transcribed the window that was sent, so this worker must transcribe it itself."""


@dataclass(eq=False, slots=True)
class IdleWorkers:
    """Lets idle workers transcribe windows of one `WindowPipeline`; NATS chooses which of them gets a window.

    `subject`: the subject to which idle workers with the same engine subscribe. `model`, `fingerprint`: of this
    worker's engine; an idle worker with another model or fingerprint replies without text. `clock`: returns the
    monotonic time in seconds.
    """

    publisher: LogicPublisher
    subject: str
    model: Model
    fingerprint: str
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)
    _workers: set[str] = field(default_factory=set, init=False)  # tokens: they have replied since the last pause
    _pause_s: float = field(default=FIRST_PAUSE_S, init=False)
    _paused_until: float = field(default=-math.inf, init=False)  # on this clock

    @property
    def room(self) -> int:
        """How many windows may be pending at the same time: sent to idle workers, but without a reply yet.

        During the pause after a failed request: 0. Until the first worker has replied: 1. Then: 4 for each worker that
        has replied, and 4 more, so that another idle worker may be found; at most 32.
        """
        if self.clock() < self._paused_until:
            return 0
        return min(len(self._workers) + 1, MAX_IDLE_WORKERS) * WINDOWS_PER_IDLE_WORKER if self._workers else 1

    @property
    def workers(self) -> int:
        """How many different workers have replied since the last pause (each failed request starts a pause)."""
        return len(self._workers)

    async def transcribe(
        self,
        window: Window,
        options: TranscribeOptions,
        previous: str | None,
        rank: Rank,  # noqa: ARG002 -- an idle worker ranks all windows of others alike
    ) -> WindowText:
        """Send a window to an idle worker, and return the text in its reply.

        `previous`: the language spoken before the window, None if unknown. `rank`: ignored, because an idle worker
        ranks all windows of other workers alike.

        Raises:
            IdleWorkerLostError: No worker is idle, or the worker was lost, slow or busy, or its text is implausible.
                Then no windows are sent to idle workers for a pause of 1 to 30 s.
        """
        request = WindowRequest(
            window=window, options=options, previous=previous, model=self.model, fingerprint=self.fingerprint
        )
        requested_at = self.clock()
        try:
            message = await self.publisher.request(request, self.subject, timeout=MAX_WAIT_S)
            reply = WindowReply.model_validate_json(message.body)
        except asyncio.CancelledError:  # the engine of this worker was faster
            if self.clock() - requested_at > LATE_S:
                self._pause()
            raise
        except (NatsError, ValueError) as error:
            self._pause()
            raise IdleWorkerLostError from error
        if reply.text is None or not _is_plausible(reply.text, request):
            if reply.text is not None:
                log.warning("shared_window_rejected")
            self._pause()
            raise IdleWorkerLostError
        self._workers.add(reply.worker)
        self._pause_s = FIRST_PAUSE_S
        return reply.text

    def _pause(self) -> None:
        if self.clock() >= self._paused_until:
            self._paused_until = self.clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        self._workers.clear()


def _is_plausible(text: WindowText, request: WindowRequest) -> bool:
    """Return whether a text may belong to the requested window, judged by its times, channel, length and language.

    Times may differ by rounding. Each segment has words, and neither a speaker nor a channel.
    """
    window, language, segments = request.window, request.options.language, text.segments
    words = [word for segment in segments for word in segment.words or ()]
    first, last = window.regions[0][0] - _ROUNDING_S, window.end + _ROUNDING_S
    times = [(item.start, item.end) for items in (segments, words, text.untranscribed) for item in items]
    lengths = sum(len(segment.text) for segment in segments), sum(len(word.word) for word in words)
    return (
        abs(text.end - window.end) <= _ROUNDING_S
        and text.channel == window.channel
        and all(first <= start <= end <= last for start, end in times)
        and max(lengths) <= MAX_TEXT_CHARS
        and all(segment.words and segment.speaker is None and segment.channel is None for segment in segments)
        and (language is None or {text.language, *(segment.language for segment in segments)} <= {None, language})
    )
