"""The progress of an attempt: how much of the task is done, and the estimated time to its end."""

import time
from dataclasses import replace

from natscribe.schemas.progress import Stage

from app.speech.updates import Progress

ROUNDING = 1e-9  # added before rounding down, because 100 * 0.57 is 56.99999999999999


class ProgressTracker:
    """Computes the percentage and the estimated time to the end of a task from the progress that an attempt reports."""

    def __init__(self, *, minimum: int) -> None:
        """Start to track an attempt.

        `minimum`: the percentage that the attempt reached in an earlier delivery, before its worker released it.
        """
        self.latest = Progress(Stage.FETCHING, 0.0)
        self._last = self.latest  # as reported; `latest` also has values of earlier reports
        self._minimum = minimum
        self.changed_at = time.monotonic()  # when an update last reported progress
        # Monotonic time and fraction when the first processed audio was reported.
        self._measured_from: tuple[float, float] | None = None

    def advance(self, update: Progress) -> None:
        """Store the reported progress; set `changed_at` if it is new or the task waits for audio."""
        if update.waits_for_audio or update != self._last:
            self.changed_at, self._last = time.monotonic(), update
        duration = update.duration_seconds or self.latest.duration_seconds  # a known duration stays known
        fraction = max(update.fraction, self.latest.fraction)
        self.latest = replace(update, fraction=fraction, duration_seconds=duration)
        if self._measured_from is None and update.processed_seconds is not None:
            self._measured_from = time.monotonic(), self.latest.fraction

    @property
    def percent(self) -> int:
        """How much of the task is done, in percent from 0 to 99; never decreasing.

        Only a `completed` event has 100 percent.
        """
        percent = int(100 * self.latest.fraction + ROUNDING)
        return min(max(percent, self._minimum), 99)

    def fields(self) -> dict[str, object]:
        """Return the fields of a `running` event that describe the progress, such as `stage` and `eta_seconds`."""
        latest = self.latest
        return {
            "stage": latest.stage,
            "processed_seconds": latest.processed_seconds,
            "duration_seconds": latest.duration_seconds,
            "lag_seconds": latest.lag_seconds,
            "speakers": latest.speaker_count,
            "eta_seconds": self.eta_seconds,
        }

    @property
    def eta_seconds(self) -> float | None:
        """The estimated time to the end of the task in seconds; None if unknown.

        It is extrapolated from the progress so far. Until an update reports more progress, it falls to 0 with time.
        """
        if self._measured_from is None:
            return None
        since, first_fraction = self._measured_from
        done, elapsed = self.latest.fraction - first_fraction, self.changed_at - since
        if done <= 0:
            return None
        return max(elapsed * (1 - self.latest.fraction) / done - (time.monotonic() - self.changed_at), 0.0)
