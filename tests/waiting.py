"""Waiting for what must become true, with a deadline."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE = 60.0  # seconds; on a busy machine with slow processors a process starts within ten
T = TypeVar("T")


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float = DEADLINE) -> T: ...
@overload
async def eventually(check: Callable[[], bool], *, within: float = DEADLINE) -> bool: ...
async def eventually(check: Callable[[], Awaitable[object] | bool], *, within: float = DEADLINE) -> object:
    """Call `check` until its result is true, and return the result; after `within` seconds fail with the last result.

    An exception that `check` raises ends the wait, `TimeoutError` included.
    """
    value: object = None
    try:
        async with asyncio.timeout(within) as deadline:
            value = await _outcome(check)
            while not value:
                await asyncio.sleep(0.02)
                value = await _outcome(check)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        message = f"still {value!r} after {within} s"
        raise AssertionError(message) from error
    return value


async def _outcome(check: Callable[[], Awaitable[object] | bool]) -> object:
    outcome = check()
    return outcome if isinstance(outcome, bool) else await outcome
