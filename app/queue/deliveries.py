"""The deliveries of one slot: one is worked on, those before it are written down meanwhile."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

BESIDE: Final = 8  # deliveries at most whose results are written down: each holds its result in memory
LAST_WORD_WITHIN: Final = 6.0  # seconds


class Deliveries:
    """Has the slot wait for the work, and not for the disks that what was found has to reach."""

    def __init__(self, broken: Callable[[BaseException], None]) -> None:
        self._broken = broken
        self._unended: set[asyncio.Task[object]] = set()
        self._room = asyncio.Semaphore(1 + BESIDE)
        self._free = asyncio.Event()
        self._working: asyncio.Task[object] | None = None

    async def room(self) -> None:
        """Wait until there is room for one more: before it is asked for."""
        async with self._room:
            return

    async def work(self, delivery: Coroutine[Any, Any, object]) -> None:
        """Work on a delivery until its result is there."""
        await self._room.acquire()
        self._free.clear()
        self._working = task = asyncio.create_task(delivery)
        self._unended.add(task)
        task.add_done_callback(self._ended)
        await self._free.wait()

    def found(self) -> None:
        """The result of the delivery that is worked on is there."""
        self._free.set()

    async def end(self, *, grace: float) -> None:
        """Give what is there `grace` seconds, then give it back."""
        if self._unended:
            await asyncio.wait(self._unended, timeout=grace)
        for task in self._unended:
            task.cancel()
        if self._unended:
            await asyncio.wait(self._unended, timeout=LAST_WORD_WITHIN)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._unended.discard(task)
        self._room.release()
        if task is self._working:
            self._free.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error)
