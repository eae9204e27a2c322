"""Cancellation of asyncio tasks: end tasks reliably, or finish some work despite a cancellation."""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

AGAIN_AFTER_S: Final = 0.05  # how long a cancelled task may run before it is cancelled again

T = TypeVar("T")


async def cancel_all(tasks: Collection[asyncio.Task[Any]], *, again_after: float = AGAIN_AFTER_S) -> None:
    """Cancel tasks, and repeat this every `again_after` seconds until all tasks have ended.

    A single cancellation can be lost: nats-py swallows a cancellation while it flushes, and `asyncio.wait_for` of
    Python 3.11 swallows one that arrives together with the result.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_after)


async def despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Finish some work and return its result, even if the caller is cancelled while the work runs."""
    doing = asyncio.create_task(work)
    while not doing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([doing])
    return doing.result()
