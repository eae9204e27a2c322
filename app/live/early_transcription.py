"""Early transcription: transcribes a closing utterance before its pause is long enough to end it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText

from app.cancellation import discard_all, drop_error
from app.engines.window_queue import Rank, WindowQueue
from app.errors import TransientError


@dataclass(frozen=True, eq=False, slots=True)
class _Started:
    """A started transcription; `previous` is the language that was assumed before the utterance."""

    regions: Sequence[tuple[float, float]]
    previous: str | None
    text: asyncio.Task[WindowText]


class EarlyTranscription:
    """The transcriber of one live task: this worker's engine, which starts early with closing utterances.

    When the run requests the complete utterance, its text is in progress or ready. If somebody speaks in the pause
    instead, the next closing utterance of the channel cancels the transcription.
    """

    workers = 1

    def __init__(self, windows: WindowQueue, options: TranscribeOptions) -> None:
        self._windows = windows
        self._options = options
        self._started: dict[int | None, _Started] = {}  # by channel

    @property
    def room(self) -> int:
        """How many utterances the engine may have at the same time."""
        return self._windows.room

    def start(self, window: Window, previous: str | None) -> None:
        """Start to transcribe a closing utterance, and cancel an earlier one of its channel."""
        if started := self._started.pop(window.channel, None):
            started.text.cancel()
        text = asyncio.create_task(self._windows.transcribe(window, self._options, previous, Rank.LIVE))
        text.add_done_callback(drop_error)  # `transcribe` raises it
        self._started[window.channel] = _Started(window.regions, previous, text)

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Return the text of a complete utterance, which may have been started; retry once if the engine has died.

        Raises:
            TaskError: The engine failed.
        """
        started = self._started.get(window.channel)
        with suppress(TransientError):
            if started is not None and (started.regions, started.previous) == (window.regions, previous):
                del self._started[window.channel]  # from now on only the caller may cancel it
                return await started.text
            return await self._windows.transcribe(window, options, previous, rank)
        return await self._windows.transcribe(window, options, previous, rank)

    async def close(self) -> None:
        """Cancel the started transcriptions that `transcribe` has not returned."""
        await discard_all([started.text for started in self._started.values()])
