"""Precedence: which lane a consumer asks before which, so that none waits forever."""

from collections.abc import Iterator, Mapping
from typing import Final

from schemas.wire import Kind, Priority

PATIENCE: Final = {Priority.NORMAL: 3, Priority.LOW: 15}  # tasks of other lanes that begin before a lane goes first


class Precedence:
    """Of one consumer: high before normal before low, but a lane that was passed over too often goes first.

    Where all lanes are full, of sixteen tasks eleven are high, four normal and one low. The kinds of one priority take
    turns. Nothing is shared: with more workers the shares stay the same.
    """

    def __init__(self) -> None:
        self._passed = dict.fromkeys(PATIENCE, 0)
        self._kinds = {priority: list(Kind) for priority in Priority}

    def order(self) -> Iterator[tuple[Priority, tuple[Kind, ...]]]:
        """The priorities, and the kinds within each, in the order in which they are to be asked now."""
        impatient = [each for each in reversed(PATIENCE) if self._passed[each] >= PATIENCE[each]]
        patient = [each for each in Priority if each not in impatient]
        for priority in impatient + patient:
            yield priority, tuple(self._kinds[priority])

    def served(self, priority: Priority, kind: Kind) -> None:
        """Remember who was served, and who was not."""
        for other in PATIENCE:
            self._passed[other] += 1
        self.found_empty(priority)
        kinds = self._kinds[priority]
        kinds.append(kinds.pop(kinds.index(kind)))  # the other kind goes first next time

    def found_empty(self, priority: Priority) -> None:
        """Remember that nobody waits there whom one could pass over."""
        if priority in PATIENCE:
            self._passed[priority] = 0


def position(waiting: Mapping[tuple[Kind, Priority], int], kind: Kind, priority: Priority, turn: int) -> int:
    """About the place, from 1, of the `turn`-th task of a lane among all that wait.

    Whose turn it is of the kinds only each worker knows: here transcription goes first, so that no two have one place.
    """
    by_priority = {each: sum(waiting[other, each] for other in Kind) for each in Priority}
    others = by_priority[priority] - waiting[kind, priority]
    place = turn + min(others, turn - (kind is Kind.TRANSCRIPTION))
    urgent = sum(count for each, count in by_priority.items() if each.precedes(priority))
    place += min(urgent, PATIENCE.get(priority, 0) * place)
    for lower, patience in PATIENCE.items():
        if priority.precedes(lower):
            place += min(by_priority[lower], place // patience)
    return place
