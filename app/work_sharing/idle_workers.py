"""The helpers of one run: idle workers that compute as this worker does, asked by NATS' request and reply.

Each window is a request to the queue group of all idle workers, so NATS chooses which of them gets the window; if no
worker is idle, NATS answers so at once. There is no list of helpers: a reply names its worker, and the number of
different workers that have answered limits how many windows may be under way.
"""

import asyncio
import math
import time
from collections.abc import Callable

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import LONGEST_TEXT, Window, WindowReply, WindowRequest, WindowText
from natscribe.schemas.wire import Model

from app.engines.window_queue import Rank

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # pause after a request that nobody has answered; doubles each time
LONGEST_WAIT_S = 120.0  # the most time that a helper gets for a window
LATE_S = 10.0  # a helper that takes longer is late: all later texts may wait for its window
WINDOWS_AT_ONCE = 2  # windows that a helper transcribes at once: a task of its own waits for no more than these
WINDOWS_PER_IDLE_WORKER = 2 * WINDOWS_AT_ONCE  # windows that each helper may have
MOST_IDLE_WORKERS = 8  # limits memory: the run holds each window until it is transcribed
_ROUNDING_S = 0.002  # rounded times may lie outside of their window by this much

log = structlog.get_logger()


class IdleWorkerLostError(Exception):
    """No helper has transcribed the window, so another transcriber must transcribe it."""


class IdleWorkers:
    """The idle workers that help one run; any of them may get a window."""

    def __init__(
        self, nats: Client, subject: str, model: Model, fingerprint: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Helpers listen on `subject`, and must have this `model` and `fingerprint`; `clock` returns seconds."""
        self._nats = nats
        self._subject = subject
        self._model = model
        self._fingerprint = fingerprint
        self._workers: set[str] = set()  # the tokens of those that have answered since the last pause
        self._pause_s = FIRST_PAUSE_S
        self._clock = clock
        self._asks_again_at = -math.inf  # on this clock

    @property
    def room(self) -> int:
        """How many windows all helpers together may have: 0 in a pause, and 1 to find the first helper.

        Later, four for each helper that has answered, and four more to find another helper; 32 at most.
        """
        if self._clock() < self._asks_again_at:
            return 0
        return min(len(self._workers) + 1, MOST_IDLE_WORKERS) * WINDOWS_PER_IDLE_WORKER if self._workers else 1

    @property
    def workers(self) -> int:
        """How many helpers are known: those that have answered since the last pause."""
        return len(self._workers)

    async def transcribe(
        self,
        window: Window,
        options: TranscribeOptions,
        previous: str | None,
        rank: Rank,  # noqa: ARG002 -- a helper ranks all windows of others alike
    ) -> WindowText:
        """Return the text of a window from a helper; `previous` is the language spoken before the window, if known.

        Raises:
            HelperLostError: No worker is idle, or the helper is lost, slow or busy, or its text is impossible. For a
                pause of seconds, helpers get no more windows.
        """
        request = WindowRequest(
            window=window, options=options, previous=previous, model=self._model, fingerprint=self._fingerprint
        )
        requested_at = self._clock()
        try:
            message = await self._nats.request(
                self._subject, request.model_dump_json().encode(), timeout=LONGEST_WAIT_S
            )
            reply = WindowReply.model_validate_json(message.data)
        except asyncio.CancelledError:  # the own engine was faster
            if self._clock() - requested_at > LATE_S:
                self._pause()
            raise
        except (NatsError, ValueError) as error:
            self._pause()
            raise IdleWorkerLostError from error
        if reply.text is None or not _may_be_text(reply.text, request):
            self._pause()
            raise IdleWorkerLostError
        self._workers.add(reply.worker)
        self._pause_s = FIRST_PAUSE_S
        return reply.text

    def _pause(self) -> None:
        if self._clock() >= self._asks_again_at:
            self._asks_again_at = self._clock() + self._pause_s
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._workers.clear()


def _may_be_text(text: WindowText, request: WindowRequest) -> bool:
    """Whether a text may be that of the window in `request`: its language, times, channel and length are possible."""
    window, language = request.window, request.options.language
    first, last = window.regions[0][0] - _ROUNDING_S, window.end + _ROUNDING_S
    times = [(segment.start, segment.end) for segment in text.segments]
    times += [(word.start, word.end) for segment in text.segments for word in segment.words or ()]
    times += [(interval.start, interval.end) for interval in text.untranscribed]
    possible = (
        abs(text.end - window.end) <= _ROUNDING_S
        and text.channel == window.channel
        and all(first <= start <= end <= last for start, end in times)
        and sum(len(segment.text) for segment in text.segments) <= LONGEST_TEXT
        and all(segment.words for segment in text.segments)
        and sum(len(word.word) for segment in text.segments for word in segment.words or ()) <= LONGEST_TEXT
        and all((segment.speaker, segment.channel) == (None, None) for segment in text.segments)
        and (language is None or {text.language, *(segment.language for segment in text.segments)} <= {None, language})
    )
    if not possible:
        log.warning("helper_answer_rejected")
    return possible
