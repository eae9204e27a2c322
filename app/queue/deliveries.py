"""The deliveries of one slot: one is worked on, or several that are quick; those before are written down meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from app.cancellation import cancel_all

BESIDE: Final = 8  # deliveries at most whose results are written down when others begin: they are in memory
QUICKLY: Final = 0.25  # seconds
LAST_WORD_WITHIN: Final = 6.0  # seconds
AGAIN_AFTER: Final = 0.5  # seconds: to be cancelled again in the middle of its last word harms no delivery


class Deliveries:
    """Has the slot wait for the work, and not for the disks that what was found has to reach.

    One begins at a time, for a recording fills the engine. Where tasks turn out to be quick (answers from the cache,
    say), twice as many begin together the next time. Of those that take longer than expected one is worked on, the
    others are given back at once, to whichever worker is free. The first of those that begin together says so at once;
    the others only when it is certain that they are not given back: they have the engine, or their result.
    """

    def __init__(self, broken: Callable[[BaseException], None], *, most: int) -> None:
        self._broken = broken
        self._most = most
        self._width = 1
        self._first = ""
        self._engine = asyncio.Lock()
        self._holder: str | None = None  # of the engine
        self._working: dict[str, asyncio.Task[object]] = {}  # those whose result is not there yet
        self._unended: set[asyncio.Task[object]] = set()
        self._all_found = asyncio.Event()
        self._one_ended = asyncio.Event()

    async def may_begin(self) -> int:
        """How many may begin: to be asked before they are pulled, for there may have to be room first."""
        while len(self._unended) > BESIDE:
            self._one_ended.clear()
            await self._one_ended.wait()
        return self._width

    async def work(self, deliveries: Mapping[str, Coroutine[Any, Any, object]]) -> None:
        """Work on deliveries, each with a name of its own, until their results are there or they are given back."""
        self._first = next(iter(deliveries))
        await self.engine(self._first)
        for name, delivery in deliveries.items():
            self._begin(name, delivery)
        began = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUICKLY):
                await self._all_found.wait()
        if self._working:
            most_are_quick = len(self._working) <= len(deliveries) // 2
            self._width = max(self._width // 2, 1) if most_are_quick else 1
            await cancel_all(self._all_but_one(), again_after=AGAIN_AFTER)
            await self._all_found.wait()
        elif len(deliveries) >= self._width and asyncio.get_running_loop().time() - began < QUICKLY / 2:
            self._width = min(2 * self._width, self._most)

    def is_first(self, name: str) -> bool:
        """Whether a delivery is the first, or the only one, of those that began together."""
        return name == self._first

    async def engine(self, name: str) -> None:
        """Wait for the engine, which is the first one's to begin with; a delivery has it until its result is there."""
        if name != self._holder:
            await self._engine.acquire()
            self._holder = name

    def found(self, name: str) -> None:
        """The result of a delivery is there, or what else becomes of it: it needs no engine any more."""
        if name == self._holder:
            self._holder = None
            self._engine.release()
        self._working.pop(name, None)
        if not self._working:
            self._all_found.set()

    async def end(self, *, grace: float) -> None:
        """Give what is there `grace` seconds, then give it back."""
        if self._unended:
            await asyncio.wait(self._unended, timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_WITHIN):
                await cancel_all(self._unended, again_after=AGAIN_AFTER)

    def _begin(self, name: str, delivery: Coroutine[Any, Any, object]) -> None:
        self._all_found.clear()
        self._working[name] = task = asyncio.create_task(delivery)
        self._unended.add(task)
        task.add_done_callback(partial(self._ended, name))

    def _all_but_one(self) -> list[asyncio.Task[object]]:
        """Whoever has the engine goes on, for to take it away would kill its process; else whoever came first."""
        kept = self._holder if self._holder in self._working else next(iter(self._working))
        return [task for name, task in self._working.items() if name != kept]

    def _ended(self, name: str, task: asyncio.Task[object]) -> None:
        self._unended.discard(task)
        self._one_ended.set()
        self.found(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)
