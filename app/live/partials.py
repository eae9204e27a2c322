"""Publishes partials: the text so far of an utterance that is not over yet, about once a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog
from natscribe.schemas.live import LiveTask, Partial
from natscribe.schemas.windows import Window, WindowText

from app.engines.window_queue import Rank, WindowQueue
from app.errors import TaskError
from app.live.agreement import LocalAgreement
from app.live.source import LiveSource
from app.telemetry.live_metrics import LiveMetrics

MIN_UTTERANCE_S = 0.6  # a shorter utterance has no look: a model finds no reliable words in it
MIN_INTERVAL_S = 1.0  # between two looks at an utterance
REST_FACTOR = 3.0  # seconds between the begins of two looks for each second that the first one takes: rarer when busy
POLL_EVERY_S = 0.1  # how often it is checked whether somebody speaks

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Spoken:
    """An open utterance: how much of it had a look, and when its next look is due."""

    start: float
    words: LocalAgreement = field(default_factory=LocalAgreement)
    seconds: float = 0.0  # how much of it was looked at
    next_at: float = 0.0  # in the event loop's time


class PartialPublisher:
    """Publishes partials: transcribes the open utterances of a source again and again, a look each time."""

    def __init__(
        self,
        task: LiveTask,
        source: LiveSource,
        windows: WindowQueue,
        publish: Callable[[Partial], Awaitable[None]],
        metrics: LiveMetrics,
    ) -> None:
        self._task = task
        self._source = source
        self._windows = windows
        self._publish = publish
        self._metrics = metrics
        self._spoken: dict[int | None, _Spoken] = {}
        self.language: str | None = None  # spoken last, as far as known

    async def run(self) -> None:
        """Publish partials until cancelled."""
        while True:
            for window in list(self._due()):
                await self._look(window)
            await asyncio.sleep(POLL_EVERY_S)

    def _due(self) -> Iterator[Window]:
        """Yield the open utterances of 0.6 s or more that have new sound and whose next look is due."""
        now = asyncio.get_running_loop().time()
        for window in self._source.open:
            start, seconds = window.start, window.end - window.start
            spoken = self._spoken.get(window.channel)
            if spoken is None or spoken.start != start:
                spoken = self._spoken[window.channel] = _Spoken(start)
            if seconds >= MIN_UTTERANCE_S and seconds > spoken.seconds and now >= spoken.next_at:
                yield window

    def wanted(self) -> bool:
        """Whether a look may be due, and so the next reply of the engine should include the open utterances."""
        now = asyncio.get_running_loop().time()
        return not self._spoken or any(
            now >= spoken.next_at or self._source.is_over(channel, spoken.start)
            for channel, spoken in self._spoken.items()
        )

    async def _look(self, window: Window) -> None:
        spoken, loop = self._spoken[window.channel], asyncio.get_running_loop()
        began = loop.time()
        try:
            text = await self._windows.transcribe(window, self._task.options, self.language, Rank.INTERIM)
        except TaskError as error:  # the final text has its own attempts
            log.warning("partial_failed", error=error.detail.code)
        else:
            if not self._source.is_over(window.channel, spoken.start):  # else the final text comes
                await self._publish(self._partial(window, spoken, text))
                if not spoken.seconds:
                    self._metrics.first_partial(max(time.monotonic() - self._source.spoken_at(spoken.start), 0.0))
        took = loop.time() - began
        spoken.seconds = window.end - spoken.start
        spoken.next_at = began + max(MIN_INTERVAL_S, REST_FACTOR * took)

    def _partial(self, window: Window, spoken: _Spoken, text: WindowText) -> Partial:
        words = spoken.words.update(_words(text))
        return Partial(
            task_id=self._task.task_id,
            channel=window.channel,
            start=spoken.start,
            end=window.end,
            stable="".join(spoken.words.stable).strip(),
            text="".join(words).strip(),
            language=text.language,
        )


def _words(text: WindowText) -> list[str]:
    """Return the words of a text, each with the space before it.

    A part that begins with a mark belongs to the word before: a stable "well" must not become "well-known".
    """
    found = list[str]()
    for segment in text.segments:
        for number, word in enumerate(segment.words or ()):
            if number and not word.word[:1].isspace() and not word.word[:1].isalnum():
                found[-1] += word.word
            else:
                found.append(word.word if number or word.word.startswith(" ") else f" {word.word}")
    return found
