"""Work on several windows at the same time, each on a thread of its own."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import accumulate, groupby
from math import ceil
from threading import local
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


class Parallel:
    """A pool of `count` threads that really compute at the same time: networks run without Python's global lock."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._thread = local()
        # Bound methods would keep this object, and so its threads, for ever.
        self._pool = ThreadPoolExecutor(count, "windows", initializer=setattr, initargs=(self._thread, "in_pool", True))

    def map(self, work: Callable[[Given], Made], given: Iterable[Given]) -> Iterator[Made]:
        """Do the work for each item, and yield the results in the order of the items.

        With several threads, all items are queued when the caller asks for the first result. With one thread, the work
        for an item begins when the caller asks for its result. If work fails, or the caller stops reading, no more work
        begins. If work calls this method itself, its items are done one after the other, because threads that wait for
        each other never end.
        """
        if self.count == 1 or hasattr(self._thread, "in_pool"):
            yield from map(work, given)
            return
        begun = deque[Future[Made]]()
        try:
            for each in given:
                begun.append(self._pool.submit(work, each))
            while begun:
                wait([begun[0]])
                yield begun.popleft().result()  # an error's traceback would keep a future that stays in `begun`
        finally:
            for future in begun:
                future.cancel()
            wait(begun)


def balanced_groups(seconds: Sequence[float], count: int) -> list[int]:
    """Divide consecutive items into at most `count` groups that are about equally long; return the size of each group.

    `seconds`: the length of each item. An item belongs to the group in which its middle lies.
    """
    whole = sum(seconds) or 1.0
    middles = [end - length / 2 for end, length in zip(accumulate(seconds), seconds, strict=True)]
    numbers = [max(ceil(count * middle / whole), 1) for middle in middles]
    return [len(list(group)) for _, group in groupby(numbers)]
