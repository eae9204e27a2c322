"""Publishes partial results: the text so far of each utterance in progress, at most once per second.

This text comes from an interim pass, i.e. a quick transcription of the utterance as far as it has arrived.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import structlog
from natscribe.schemas.live import LiveTask, Partial

from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.errors import TaskError
from app.runtime.telemetry.live_metrics import LiveMetrics
from app.speech.live.agreement import LocalAgreement
from app.speech.live.source import LiveSource

MIN_UTTERANCE_S = 0.6  # a shorter utterance has no interim pass: a model recognizes no reliable words in it
MIN_INTERVAL_S = 1.0  # between the starts of two interim passes of an utterance
REST_FACTOR = 3.0  # at least this many times the duration of a pass, from its start to the next: rarer when busy
POLL_EVERY_S = 0.1  # how often open utterances are checked

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _OpenUtterance:
    """An utterance in progress, whose text so far is published as partial results.

    `start`: where it starts, in seconds from the start of the audio. `seconds`: how much of it was transcribed so far.
    `words`: the words recognized so far. `next_at`: when to transcribe it again, in the event loop's time.
    """

    start: float
    words: LocalAgreement = field(default_factory=LocalAgreement)
    seconds: float = 0.0
    next_at: float = 0.0


@dataclass(eq=False, slots=True)
class PartialPublisher:
    """Publishes the partial results of a live task: transcribes its utterances in progress in interim passes.

    `preview`: returns a text as the task publishes it. A task with `redact` has no partial results, unless it requests
    them; then they have no stable words, because words may still become a part of personal data.
    """

    task: LiveTask
    source: LiveSource
    windows: WindowQueue
    publish: Callable[[Partial], Awaitable[None]]
    metrics: LiveMetrics
    preview: Callable[[WindowText], Awaitable[WindowText]]
    _utterances: dict[int | None, _OpenUtterance] = field(default_factory=dict, init=False)  # by channel

    async def run(self, language: Callable[[], str | None]) -> None:
        """Publish partial results until cancelled, if any; `language`: returns that spoken last, None if unknown."""
        while self._are_wanted:
            for window in list(self._due()):
                await self._transcribe(window, language())
            await asyncio.sleep(POLL_EVERY_S)

    def _due(self) -> Iterator[Window]:
        """Yield the utterances in progress that are due for an interim pass.

        Such an utterance is at least 0.6 s long, has new audio since its last pass, and has reached its time `next_at`.
        """
        now = asyncio.get_running_loop().time()
        for window in self.source.open:
            start, seconds = window.start, window.end - window.start
            utterance = self._utterances.get(window.channel)
            if utterance is None or utterance.start != start:
                utterance = self._utterances[window.channel] = _OpenUtterance(start)
            if seconds >= MIN_UTTERANCE_S and seconds > utterance.seconds and now >= utterance.next_at:
                yield window

    def needs_open(self) -> bool:
        """Return whether the engine's next reply should include the utterances in progress.

        It should if an utterance is due for an interim pass (a quick transcription for a partial result), or if a new
        one may have begun since the last reply that included them.
        """
        now = asyncio.get_running_loop().time()
        return self._are_wanted and (
            not self._utterances
            or any(
                now >= utterance.next_at or self.source.is_over(channel, utterance.start)
                for channel, utterance in self._utterances.items()
            )
        )

    @property
    def _are_wanted(self) -> bool:
        return self.task.redact is None or self.task.redact.partials

    async def _transcribe(self, window: Window, language: str | None) -> None:
        utterance, loop = self._utterances[window.channel], asyncio.get_running_loop()
        started = loop.time()
        try:
            text = await self.windows.transcribe(window, self.task.options, language, Rank.INTERIM)
            is_over = self.source.is_over(window.channel, utterance.start)  # then the final text follows
            partial = None if is_over else await self._partial(window, utterance, text)
        except TaskError as error:  # the final text has its own attempts
            log.warning("partial_failed", error=error.detail.code)
        else:
            if partial is not None:
                await self.publish(partial)
                if not utterance.seconds:
                    delay = time.monotonic() - self.source.spoken_at(utterance.start)
                    self.metrics.partial_delay.observe(max(delay, 0.0))
        utterance.seconds = window.end - utterance.start
        utterance.next_at = started + max(MIN_INTERVAL_S, REST_FACTOR * (loop.time() - started))

    async def _partial(self, window: Window, utterance: _OpenUtterance, text: WindowText) -> Partial:
        words, stable = utterance.words.update(_words(text)), utterance.words.stable
        if self.task.redact is not None:
            words, stable = _words(await self.preview(text)), []
        return Partial(
            task_id=self.task.task_id,
            channel=window.channel,
            start=utterance.start,
            end=window.end,
            stable="".join(stable).strip(),
            text="".join(words).strip(),
            language=text.language,
            speaker=self.source.speaking.get(window.channel),
        )


def _words(text: WindowText) -> list[str]:
    """Return the words of a text, each with the space before it.

    A part of a word that begins with a punctuation mark, such as "-known", is joined to the word before: otherwise
    "well" could be published as a stable word, which should not change, and then become "well-known".
    """
    words = list[str]()
    for segment in text.segments:
        for number, word in enumerate(segment.words or ()):
            if number and not word.word[:1].isspace() and not word.word[:1].isalnum():
                words[-1] += word.word
            else:
                words.append(word.word if number or word.word.startswith(" ") else f" {word.word}")
    return words
