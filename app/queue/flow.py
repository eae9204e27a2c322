"""Flow: how fast tasks leave the queue while others wait."""

import time
from collections import deque

ENOUGH = 30  # tasks: what was longer ago does not count


class Flow:
    """Measured by looking at the queue now and then, and kept while nothing waits; unknown until a task has left it."""

    def __init__(self) -> None:
        self._busy: deque[tuple[float, int]] = deque()  # seconds in which tasks waited, and how many left meanwhile
        self._last: tuple[float, int] | None = (
            None  # when it was looked at, and how many had left; None: nothing waited
        )

    def observe(self, settled: int, *, waiting: bool) -> None:
        """Note that so many tasks have left the queue since it was made, and whether others wait."""
        now = time.monotonic()
        if self._last is not None and waiting:
            then, before = self._last
            self._add(now - then, max(settled - before, 0))  # a stream that was made anew counts from 0
        self._last = (now, settled) if waiting else None

    def until(self, position: int) -> float | None:
        """Seconds until the task at this place begins, None where that is unknown."""
        seconds, left = (sum(each) for each in zip(*self._busy, strict=True)) if self._busy else (0.0, 0)
        return (position - 0.5) * seconds / left if left else None  # the next worker is on average half done

    def _add(self, seconds: float, left: int) -> None:
        if self._busy and self._busy[-1][1] == 0:
            seconds += self._busy.pop()[0]
        self._busy.append((seconds, left))
        while sum(count for _, count in self._busy) - self._busy[0][1] >= ENOUGH:
            self._busy.popleft()
