"""The deliveries of one slot: one is worked on, or several that are quick; those before are written down meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from app.ending import end
from app.queue.engine_lock import EngineLock

BESIDE: Final = 8  # deliveries at most whose results are written down: each holds its result in memory
QUICKLY: Final = 0.25  # seconds
LAST_WORD_WITHIN: Final = 6.0  # seconds
AGAIN_AFTER: Final = 0.5  # seconds: to be cancelled again in the middle of its last word harms no delivery


class Deliveries:
    """Has the slot wait for the work, and not for the disks that what was found has to reach.

    One begins at a time, for a recording fills the engine. Where tasks turn out to need no engine (answers from the
    cache, say), twice as many begin together the next time. Of those that take longer than expected one is worked on,
    the others are given back at once, to whichever worker is free.
    """

    def __init__(self, broken: Callable[[BaseException], None], engine_lock: EngineLock, *, most: int) -> None:
        self._broken = broken
        self._engine_lock = engine_lock
        self._most = most
        self._width = 1
        self._working: dict[str, asyncio.Task[object]] = {}  # those whose result is not there yet
        self._unended: set[asyncio.Task[object]] = set()
        self._all_found = asyncio.Event()
        self._one_ended = asyncio.Event()

    async def room(self) -> int:
        """How many may begin: to be asked before they are pulled, for there may have to be room first."""
        while len(self._unended) > BESIDE:
            self._one_ended.clear()
            await self._one_ended.wait()
        return self._width

    async def work(self, deliveries: Mapping[str, Coroutine[Any, Any, object]]) -> None:
        """Work on deliveries, each with a name of its own, until their results are there or they are given back."""
        for name, delivery in deliveries.items():
            self._begin(name, delivery)
        began = asyncio.get_running_loop().time()
        with suppress(TimeoutError):
            async with asyncio.timeout(QUICKLY):
                await self._all_found.wait()
        if self._working:
            self._width = 1
            await end(self._all_but_one(), again_after=AGAIN_AFTER)
            await self._all_found.wait()
        elif len(deliveries) >= self._width and asyncio.get_running_loop().time() - began < QUICKLY / 2:
            self._width = min(2 * self._width, self._most)

    def found(self, name: str) -> None:
        """The result of a delivery is there."""
        self._working.pop(name, None)
        if not self._working:
            self._all_found.set()

    async def end(self, *, grace: float) -> None:
        """Give what is there `grace` seconds, then give it back."""
        if self._unended:
            await asyncio.wait(self._unended, timeout=grace)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORD_WITHIN):
                await end(self._unended, again_after=AGAIN_AFTER)

    def _begin(self, name: str, delivery: Coroutine[Any, Any, object]) -> None:
        self._all_found.clear()
        self._working[name] = task = asyncio.create_task(delivery)
        self._unended.add(task)
        task.add_done_callback(partial(self._ended, name))

    def _all_but_one(self) -> list[asyncio.Task[object]]:
        """Whoever has the engine goes on, for to take it away would kill its process; else whoever came first."""
        working = list(self._working.values())
        kept = next((task for task in working if task is self._engine_lock.holder), working[0])
        return [task for task in working if task is not kept]

    def _ended(self, name: str, task: asyncio.Task[object]) -> None:
        self._unended.discard(task)
        self._one_ended.set()
        self.found(name)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)
