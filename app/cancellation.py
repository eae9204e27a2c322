"""Cancellation: of what runs beside, surely; and of what must be done all the same."""

import asyncio
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

AGAIN_AFTER: Final = 0.05  # seconds

T = TypeVar("T")


async def cancel_all(tasks: Collection[asyncio.Task[Any]], *, again_after: float = AGAIN_AFTER) -> None:
    """Cancel tasks until they have ended, each time after so many seconds.

    Once is not enough: nats-py swallows a cancellation while it flushes, and `asyncio.wait_for` of Python 3.11 one that
    comes together with its answer.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=again_after)


async def despite_cancellation(work: Coroutine[Any, Any, T]) -> T:
    """Do what has to be done though whoever does it is cancelled meanwhile, however often."""
    doing = asyncio.create_task(work)
    while not doing.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([doing])
    return doing.result()
