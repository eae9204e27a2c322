"""Ending what runs beside: surely, however often that takes."""

import asyncio
from collections.abc import Collection
from typing import Final

AGAIN_AFTER: Final = 0.05  # seconds


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    Once is not enough: nats-py swallows a cancellation while it flushes, and `asyncio.wait_for` of Python 3.11 one that
    comes together with its answer.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_AFTER)
