"""The scheduled tasks: those that may not start before a certain time."""

import heapq
from collections import Counter
from datetime import datetime
from typing import Final

COMPACTED_FROM: Final = 64  # entries of removed tasks, before their memory is freed


class ScheduledTasks:
    """Scheduled tasks, by the time from which each may start; does no I/O.

    `len` is the number of tasks, and `in` finds a task by the stream sequence of its message.
    """

    def __init__(self) -> None:
        self._times: list[tuple[float, int]] = []  # a heap: time and sequence of each task, and of some removed ones
        self._subjects: dict[int, str] = {}  # of the task messages, by their sequences

    def __len__(self) -> int:
        return len(self._subjects)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._subjects

    def add(self, sequence: int, subject: str, due_at: datetime) -> None:
        """Add a task, by the stream sequence and the subject of its message, and the time from which it may start."""
        heapq.heappush(self._times, (due_at.timestamp(), sequence))
        self._subjects[sequence] = subject

    def first_due(self, now: datetime) -> int | None:
        """Return the stream sequence of the task that is due first; None if no task may start at the time `now`."""
        while self._times and self._times[0][0] <= now.timestamp():
            _, sequence = self._times[0]
            if sequence in self._subjects:
                return sequence
            heapq.heappop(self._times)
        return None

    def remove(self, sequence: int) -> bool:
        """Remove a task, because it is due or was cancelled; return False if it is not scheduled."""
        is_scheduled = self._subjects.pop(sequence, None) is not None
        if len(self._times) > 2 * len(self._subjects) + COMPACTED_FROM:
            self._times = [(due_at, other) for due_at, other in self._times if other in self._subjects]
            heapq.heapify(self._times)
        return is_scheduled

    def counts(self) -> Counter[str]:
        """Return how many tasks are scheduled in each task queue, by the subject of the queue."""
        return Counter(self._subjects.values())
