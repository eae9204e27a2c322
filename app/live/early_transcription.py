"""Transcribing ahead: an utterance that is closing is transcribed before its pause is long enough to end it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.cancellation import discard_all
from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError


@dataclass(frozen=True, eq=False, slots=True)
class _Begun:
    """An utterance whose transcription has begun; `previous` is the language that was assumed before it."""

    regions: Sequence[tuple[float, float]]
    previous: str | None
    text: asyncio.Task[WindowText]


class EarlyTranscription:
    """The transcriber of one live task: the own engine, which begins with an utterance that is closing.

    When the run sends the complete utterance, its text is under way or ready. If somebody speaks on instead, the
    transcription that has begun is cancelled.
    """

    workers = 1

    def __init__(self, windows: WindowQueue, options: TranscribeOptions) -> None:
        self._windows = windows
        self._options = options
        self._begun: dict[int | None, _Begun] = {}  # by channel

    @property
    def room(self) -> int:
        """How many utterances the engine may have at the same time."""
        return self._windows.room

    def begin(self, window: Window, previous: str | None) -> None:
        """Begin to transcribe an utterance that is closing, in place of an earlier one of its channel."""
        self._give_up(window.channel)
        text = asyncio.create_task(self._windows.transcribe(window, self._options, previous, Rank.LIVE))
        text.add_done_callback(_look_at)
        self._begun[window.channel] = _Begun(window.regions, previous, text)

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Return the text of a complete utterance, which `begin` may have begun; try once more if the engine has died.

        Raises:
            TaskError: The engine failed.
        """
        begun = self._begun.get(window.channel)
        with suppress(TransientError):
            if begun is not None and (begun.regions, begun.previous) == (window.regions, previous):
                del self._begun[window.channel]  # from now on only who waits for the text may give it up
                return await begun.text
            return await self._windows.transcribe(window, options, previous, rank)
        return await self._windows.transcribe(window, options, previous, rank)

    async def close(self) -> None:
        """Cancel the transcriptions that `begin` has started, and whose texts nobody has asked `transcribe` for."""
        await discard_all([begun.text for begun in self._begun.values()])

    def _give_up(self, channel: int | None) -> None:
        begun = self._begun.pop(channel, None)
        if begun is not None:
            begun.text.cancel()


def _look_at(text: asyncio.Task[WindowText]) -> None:
    if not text.cancelled():
        text.exception()  # whoever asks for the utterance gets it, too
