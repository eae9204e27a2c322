"""Early transcription: starts to transcribe a live utterance in the pause that may end it, not only at its end."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from natscribe.schemas.transcription import TranscribeOptions

from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import Window, WindowText
from app.runtime.cancellation import discard_all, drop_error
from app.runtime.errors import TransientError


@dataclass(frozen=True, eq=False, slots=True)
class _StartedTranscription:
    """A transcription that was started in a pause that may end its utterance.

    `regions`: the start and end of each region of speech in the utterance, in seconds. `previous`: the language that
    was assumed for the speech before the utterance.
    """

    regions: Sequence[tuple[float, float]]
    previous: str | None
    text: asyncio.Task[WindowText]


class EarlyText:
    """Transcribes the utterances of one live task with this worker's engine, and starts while they are closing.

    An utterance is closing in a pause that may end it. If the pause lasts, the utterance is complete, and its text is
    ready early. If somebody speaks again, the utterance continues; in its next pause, another transcription starts, and
    the earlier one is cancelled.
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

    def start(self, window: Window, previous: str | None) -> "asyncio.Task[WindowText]":
        """Start to transcribe a closing utterance, i.e. one in a pause that may end it; return the transcription.

        An earlier transcription in the same channel is cancelled, unless `transcribe` has already requested its text.
        `previous`: the language spoken before the utterance, None if unknown.
        """
        if started := self._started.pop(window.channel, None):
            started.text.cancel()
        text = asyncio.create_task(self._windows.transcribe(window, self._options, previous, Rank.LIVE))
        text.add_done_callback(drop_error)  # `transcribe` raises it
        self._started[window.channel] = _StartedTranscription(window.regions, previous, text)
        return text

    async def transcribe(
        self, window: Window, options: TranscribeOptions, previous: str | None, rank: Rank
    ) -> WindowText:
        """Return the text of a complete utterance, from the transcription that `start` has started, or from a new one.

        If the engine fails, transcribe once more. `previous`: the language spoken before the utterance, None if
        unknown. `rank`: the priority in the engine's queue.

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
        """Cancel the transcriptions that `start` has started and whose text `transcribe` has not requested."""
        await discard_all([started.text for started in self._started.values()])
