"""Chooses the priority of the next task, and estimates how many tasks start before a waiting task."""

from collections.abc import Iterator, Mapping
from typing import Final

from natscribe.schemas.wire import Priority

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # how many other tasks may start before this priority is next


class PriorityOrder:
    """Decides from which priority the next task is taken: from high before normal before low, but without starvation.

    A priority goes first once PATIENCE tasks of other priorities have started while its own tasks waited. While tasks
    of all priorities wait, eleven of sixteen started tasks are high, four are normal and one is low.
    """

    def __init__(self) -> None:
        self._passed_over = dict.fromkeys(Priority, 0)

    def current(self) -> Iterator[Priority]:
        """Yield the priorities in the order in which to look for the next task: first those passed over too often."""
        overdue = [priority for priority in reversed(PATIENCE) if self._passed_over[priority] >= PATIENCE[priority]]
        yield from dict.fromkeys([*overdue, *Priority])

    def note_served(self, served: Priority) -> None:
        """Note that a task of the priority `served` starts: each other priority is passed over once more."""
        for priority in PATIENCE:
            self._passed_over[priority] += 1
        self.note_empty(served)

    def note_empty(self, priority: Priority) -> None:
        """Note that no task of a priority can start, and set the count of how often it was passed over to 0."""
        self._passed_over[priority] = 0


def served_before(waiting: Mapping[Priority, int], priority: Priority, before: int) -> dict[Priority, int]:
    """Estimate how many tasks of each priority start before a certain waiting task.

    `waiting`: the number of waiting tasks by priority. `priority`: the priority of the task. `before`: how many tasks
    of the same priority start before it.
    """
    number = before + 1
    counts = _more_urgent(waiting, priority, at_most=PATIENCE.get(priority, 0) * number)
    number += sum(counts.values())
    for lower, patience in PATIENCE.items():
        if priority.precedes(lower):
            counts[lower] = min(waiting[lower], number // patience)
            number += counts[lower]
    return counts | {priority: before}


def _more_urgent(waiting: Mapping[Priority, int], priority: Priority, *, at_most: int) -> dict[Priority, int]:
    """Estimate how many tasks of each priority above `priority` start before a task of `priority`.

    `waiting`: the number of waiting tasks by priority. `at_most`: the maximum sum of the estimates. If more tasks wait,
    it is divided among the higher priorities in the ratio in which `PriorityOrder` starts their tasks; what one of them
    cannot use goes to the others.
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
