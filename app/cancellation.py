"""Cancellation: of tasks until they have ended, and of callers whose work must be done all the same."""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

AGAIN_AFTER_S: Final = 0.05

T = TypeVar("T")


async def cancel_all(tasks: Collection[asyncio.Task[Any]], *, again_after: float = AGAIN_AFTER_S) -> None:
    """Cancel tasks until they have ended, once more after each `again_after` seconds.

    Once is not enough: nats-py swallows a cancellation while it flushes, and so does `asyncio.wait_for` of Python 3.11
    when its result arrives at the same moment.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_after)


async def despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Finish some work, however often the caller is cancelled meanwhile."""
    doing = asyncio.create_task(work)
    while not doing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([doing])
    return doing.result()
