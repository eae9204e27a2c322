"""The order of priorities, and estimates of the start of a waiting task under that order."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from natscribe.schemas.wire import Priority

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # how many other tasks may start before this priority is next


class PriorityOrder:
    """The order of the priorities for the next task: high, normal and low, without starvation.

    A priority that was passed over PATIENCE times goes first: while tasks of all priorities wait, eleven of sixteen
    tasks are high, four are normal and one is low.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)

    def current(self) -> Iterator[Priority]:
        """Yield the priorities in their current order."""
        overdue = [priority for priority in reversed(PATIENCE) if self._passed_over[priority] >= PATIENCE[priority]]
        yield from dict.fromkeys([*overdue, *Priority])

    def note_served(self, served: Priority) -> None:
        """Note that a task of a priority starts, so that every other priority was passed over once more."""
        for priority in PATIENCE:
            self._passed_over[priority] += 1
        self.note_empty(served)

    def note_empty(self, priority: Priority) -> None:
        """Note that no task of a priority can start, so that a task of another priority does not pass it over."""
        self._passed_over[priority] = 0


def served_before(waiting: Mapping[Priority, int], priority: Priority, before: int) -> dict[Priority, int]:
    """Estimate, for each priority, how many of its tasks start before a certain waiting task.

    `waiting`: the number of waiting tasks of each priority. `before`: how many tasks of its own priority precede the
    task, which has the priority `priority`.
    """
    number = before + 1
    counts = _more_urgent(waiting, priority, at_most=PATIENCE.get(priority, 0) * number)
    number += sum(counts.values())
    for lower, patience in PATIENCE.items():
        if priority.precedes(lower):
            counts[lower] = min(waiting[lower], number // patience)
            number += counts[lower]
    return counts | {priority: before}


def seconds_until_free(busy: Iterable[float], work: float) -> float:
    """Estimate after how many seconds the workers have completed the work that precedes a task, so that one is free.

    `work`: how many seconds one worker would need for the preceding tasks. `busy`: for each worker, the seconds until
    its running task ends; then it does a share of `work`. The shares are such that all workers that get one end
    together.
    """
    totals = accumulate(sorted(max(seconds, 0.0) for seconds in busy))
    return min(((work + total) / workers for workers, total in enumerate(totals, start=1)), default=work)


def _more_urgent(waiting: Mapping[Priority, int], priority: Priority, *, at_most: int) -> dict[Priority, int]:
    """Estimate how many tasks of each priority above `priority` start before a task of `priority`.

    `waiting`: the number of waiting tasks of each priority. `at_most`: the maximum of the total. Of these tasks, each
    priority gets the share that it has in `PriorityOrder`, and higher priorities get the rest.
    """
    urgent = [other for other in Priority if other.precedes(priority)]
    left = min(sum(waiting[other] for other in urgent), at_most)
    counts: dict[Priority, int] = {}
    for current in reversed(urgent):
        of_higher = sum(waiting[other] for other in urgent if other.precedes(current))
        share = max(left // (PATIENCE.get(current, 0) + 1), left - of_higher)
        counts[current] = min(waiting[current], share)
        left -= counts[current]
    return counts
