"""The speed of work: how long a second of sound takes, measured from the latest tasks of this worker."""

from collections import deque
from typing import Final

from natscribe.schemas.wire import Lane

TASKS_MEASURED: Final = 30  # the speed is measured over this number of the latest tasks of a kind


class Speed:
    """Measures how long a worker takes for a second of sound, for each queue of tasks; unknown until a task has ended.

    A task counts in the same way if other workers helped with it, because the measurement does not know of helpers.
    After such tasks the worker seems faster than it is alone.
    """

    def __init__(self) -> None:
        self._done = {queue: deque[tuple[float, float]](maxlen=TASKS_MEASURED) for queue in Lane}

    def note(self, queue: Lane, *, audio_seconds: float, seconds: float) -> None:
        """Note a task: its seconds of sound, and the seconds of work that they took."""
        if audio_seconds > 0:
            self._done[queue].append((audio_seconds, seconds))

    def seconds_for(self, queue: Lane, audio_seconds: float | None) -> float | None:
        """Estimate the seconds of work on so much audio; None if the speed or the length is unknown."""
        done = self._done[queue]
        if not done or audio_seconds is None:
            return None
        audio, seconds = map(sum, zip(*done, strict=True))
        return float(audio_seconds * seconds / audio)
