"""The pace of an attempt: which part of the task is done, and how many seconds the rest takes."""

import time
from dataclasses import replace

from natscribe.schemas.progress import Stage

from app.updates import Update

ROUNDING = 1e-9  # added before rounding down, because 100 * 0.57 is 56.99999999999999


class ProgressTracker:
    """Computes percent and remaining seconds from the updates of an attempt; `percent` never decreases."""

    def __init__(self, *, least: int) -> None:
        self.latest = Update(Stage.FETCHING, 0.0)
        self._last = self.latest  # as it came, without what earlier updates said
        self._least = least  # percent that an earlier delivery of the same attempt has reached
        self.moved_at = time.monotonic()  # when the last update differed from the one before
        # Monotonic time and fraction when the first processed audio was reported.
        self._measured_from: tuple[float, float] | None = None

    def advance(self, update: Update) -> None:
        """Update the pace with the next update of the attempt."""
        if update.waits or update != self._last:
            self.moved_at, self._last = time.monotonic(), update
        duration = update.duration_seconds or self.latest.duration_seconds  # keep the duration once it is known
        fraction = max(update.fraction, self.latest.fraction)
        self.latest = replace(update, fraction=fraction, duration_seconds=duration, text=None)
        if self._measured_from is None and update.processed_seconds is not None:
            self._measured_from = time.monotonic(), self.latest.fraction

    @property
    def percent(self) -> int:
        """How much of the whole task is done, 0 to 99; only the event `completed` has 100."""
        percent = int(100 * self.latest.fraction + ROUNDING)
        return min(max(percent, self._least), 99)

    def fields(self) -> dict[str, object]:
        """Return the fields of a `running` event that the pace knows."""
        latest = self.latest
        return {
            "stage": latest.stage,
            "processed_seconds": latest.processed_seconds,
            "duration_seconds": latest.duration_seconds,
            "lag_seconds": latest.lag_seconds,
            "eta_seconds": self.rest,
        }

    @property
    def rest(self) -> float | None:
        """Estimated seconds until the end, None if unknown; the estimate decreases to 0 while no progress is made."""
        if self._measured_from is None:
            return None
        since, fraction_then = self._measured_from
        done, elapsed = self.latest.fraction - fraction_then, self.moved_at - since
        if done <= 0:
            return None
        return max(elapsed * (1 - self.latest.fraction) / done - (time.monotonic() - self.moved_at), 0.0)
