"""The processing speed of a worker: seconds of work per second of audio, measured over its latest tasks."""

from collections import deque
from typing import Final

from natscribe.schemas.wire import Lane

TASKS_MEASURED: Final = 30  # the speed is averaged over this number of the latest tasks of a lane


class Speed:
    """Measures the processing speed of a worker, for transcription, diarization and live tasks (lanes) separately.

    The speed of a lane is unknown until a task of the lane has ended. A task is measured with all its audio, also with
    parts that other workers have transcribed for it, so the worker may appear faster than it is.
    """

    def __init__(self) -> None:
        self._done = {lane: deque[tuple[float, float]](maxlen=TASKS_MEASURED) for lane in Lane}

    def note(self, lane: Lane, *, audio_seconds: float, seconds: float) -> None:
        """Update the measured speed of a lane (its seconds of audio per second of work) with a task that has ended.

        `audio_seconds`: the duration of its audio. `seconds`: how long the worker took.
        """
        if audio_seconds > 0:
            self._done[lane].append((audio_seconds, seconds))

    def seconds_for(self, lane: Lane, audio_seconds: float | None) -> float | None:
        """Estimate how many seconds the worker needs for a task with `audio_seconds` of audio.

        Return None if the speed of the lane, or the duration, is unknown.
        """
        done = self._done[lane]
        if not done or audio_seconds is None:
            return None
        audio, seconds = map(sum, zip(*done, strict=True))
        return float(audio_seconds * seconds / audio)
