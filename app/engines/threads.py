"""Threads on which a model transcribes several windows at the same time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, groupby
from math import ceil
from threading import local
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Threads:
    """A fixed number of threads; the libraries that run networks release Python's lock while they compute."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._this_thread = local()
        self._pool = ThreadPoolExecutor(count, "windows", initializer=self._mark)

    def map(self, work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
        """Do the work for each item, as threads become free, and yield the results in the order of the items.

        If one of the threads calls this method, it does the work itself: threads that wait for each other never end.
        """
        if self.count == 1 or hasattr(self._this_thread, "belongs_here"):
            return map(work, given)
        return self._pool.map(work, given)

    def _mark(self) -> None:
        self._this_thread.belongs_here = True


def in_groups(seconds: Sequence[float], count: int) -> list[int]:
    """Divide consecutive items of these lengths into at most `count` groups of about the same length.

    Return how many items each group has. An item belongs to the group in which its middle lies.
    """
    whole = sum(seconds)
    middles = [end - length / 2 for end, length in zip(accumulate(seconds), seconds, strict=True)]
    numbers = [ceil(count * middle / whole) for middle in middles]
    return [len(list(group)) for _, group in groupby(numbers)]
