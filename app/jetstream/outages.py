"""Outages: how long ago NATS came back to this worker."""

import math
import time


class Outages:
    """Notes when a connection that was lost is there again."""

    def __init__(self) -> None:
        self._ended_at = -math.inf

    def end(self) -> None:
        """Note that the connection is there again."""
        self._ended_at = time.monotonic()

    @property
    def over_for(self) -> float:
        """Seconds since the last one; infinite where there was none."""
        return time.monotonic() - self._ended_at
