"""Early transcription: transcribes an utterance while it is closing, i.e. before its pause is long enough to end it."""

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
class _StartedTranscription:
    """A started transcription of a closing utterance.

    `regions`: the start and end of the utterance, in seconds. `previous`: the language assumed before it.
    """

    regions: Sequence[tuple[float, float]]
    previous: str | None
    text: asyncio.Task[WindowText]


class EarlyTranscription:
    """Transcribes the utterances of one live task with this worker's engine, and starts while they are closing.

    An utterance is closing when a pause has begun that may end it. If the pause goes on, the utterance is complete, and
    when the `TranscriptionRun` requests its text, the transcription is in progress or finished. If somebody speaks
    again, the utterance continues; when it is closing the next time, the earlier transcription is cancelled.
    """

    workers = 1

    def __init__(self, windows: WindowQueue, options: TranscribeOptions) -> None:
        self._windows = windows
        self._options = options
        self._started: dict[int | None, _StartedTranscription] = {}  # by channel

    @property
    def room(self) -> int:
        """How many utterances of the task the engine accepts at the same time."""
        return self._windows.room

    def start(self, window: Window, previous: str | None) -> None:
        """Start to transcribe a closing utterance, in place of an earlier one of its channel that is still in progress.

        `previous`: the language spoken before the utterance, None if unknown.
        """
        if started := self._started.pop(window.channel, None):
            started.text.cancel()
        text = asyncio.create_task(self._windows.transcribe(window, self._options, previous, Rank.LIVE))
        text.add_done_callback(drop_error)  # `transcribe` raises it
        self._started[window.channel] = _StartedTranscription(window.regions, previous, text)

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Return the text of a complete utterance, whose transcription may have started; retry once if the engine died.

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
        """Cancel the started transcriptions whose text no call of `transcribe` has requested."""
        await discard_all([started.text for started in self._started.values()])
