"""Waiting for what must become true, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

DEADLINE = 30.0  # seconds
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], *, within: float = DEADLINE) -> T:
    """What `look` returns once that is true; the last thing it returned is in the error."""
    found = await look()
    try:
        async with asyncio.timeout(within):
            while not found:
                await asyncio.sleep(0.02)
                found = await look()
    except TimeoutError as error:
        message = f"still {found!r} after {within} s"
        raise AssertionError(message) from error
    return found
