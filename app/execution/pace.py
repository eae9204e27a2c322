"""The pace of an attempt: how far it is, and how long the rest takes."""

import time
from dataclasses import replace

from app.updates import Update
from schemas.progress import Stage

ROUNDING = 1e-9  # 100 * .57 is 56.99999999999999


class Pace:
    """Computed from the updates of an attempt; `percent` never falls."""

    def __init__(self, *, least: int) -> None:
        self.latest = Update(Stage.FETCHING, 0.0)
        self._least = least  # percent: what was appended before in the same attempt
        self.moved_at = time.monotonic()  # when the last update differed from the one before
        self._measured_from: tuple[float, float] | None = None  # when that was, and the fraction that was done

    def advance(self, update: Update) -> None:
        """Take the next update into account."""
        if update != self.latest:
            self.moved_at = time.monotonic()
        duration = update.duration_seconds or self.latest.duration_seconds  # once known, it stays known
        fraction = max(update.fraction, self.latest.fraction)
        self.latest = replace(update, fraction=fraction, duration_seconds=duration, found=None)
        if self._measured_from is None and update.processed_seconds is not None:
            self._measured_from = time.monotonic(), self.latest.fraction

    @property
    def percent(self) -> int:
        """How much of the whole task is done, 0 to 99: `completed` alone has 100."""
        percent = int(100 * self.latest.fraction + ROUNDING)
        return min(max(percent, self._least), 99)

    def fields(self) -> dict[str, object]:
        """The fields of a `running` event."""
        latest = self.latest
        return {
            "stage": latest.stage,
            "processed_seconds": latest.processed_seconds,
            "duration_seconds": latest.duration_seconds,
            "eta_seconds": self.rest,
        }

    @property
    def rest(self) -> float | None:
        """Seconds until the end, None where that is unknown yet; while the work stands still, it falls to 0."""
        if self._measured_from is None:
            return None
        since, fraction_then = self._measured_from
        done, elapsed = self.latest.fraction - fraction_then, self.moved_at - since
        if done <= 0:
            return None
        return max(elapsed * (1 - self.latest.fraction) / done - (time.monotonic() - self.moved_at), 0.0)
