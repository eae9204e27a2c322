"""Process several windows at the same time, each on its own thread."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import accumulate, groupby
from math import ceil
from threading import local
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Parallel:
    """A pool of `count` threads that run neural networks in parallel.

    Threads suffice, because the libraries that run networks release the global interpreter lock.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._thread = local()
        # Bound methods would reference this object, so that its threads were never freed.
        self._pool = ThreadPoolExecutor(count, "windows", initializer=setattr, initargs=(self._thread, "in_pool", True))

    def map(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply `work` to each item, and yield the results in the order of the items.

        With several threads, all items are queued when the first result is requested. With one thread, an item is
        processed when its result is requested. If `work` fails, or the caller closes the generator, no more items are
        started. A nested call, from within `work`, processes its items one after the other, to avoid a deadlock.
        """
        if self.count == 1 or hasattr(self._thread, "in_pool"):
            yield from map(work, items)
            return
        pending = deque[Future[Result]]()
        try:
            for item in items:
                pending.append(self._pool.submit(work, item))
            while pending:
                wait([pending[0]])
                yield pending.popleft().result()  # an error's traceback would keep a future in `pending` alive
        finally:
            for future in pending:
                future.cancel()
            wait(pending)


def balanced_groups(seconds: Sequence[float], count: int) -> list[int]:
    """Divide consecutive items into at most `count` groups of similar duration; return the number of items in each.

    `seconds`: the duration of each item. The total duration is cut into `count` equal parts; the items whose middles
    lie in the same part form a group.
    """
    whole = sum(seconds) or 1.0
    middles = [end - length / 2 for end, length in zip(accumulate(seconds), seconds, strict=True)]
    numbers = [max(ceil(count * middle / whole), 1) for middle in middles]
    return [len(list(group)) for _, group in groupby(numbers)]
