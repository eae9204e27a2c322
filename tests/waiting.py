"""Waiting for what must become true, with a deadline."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

DEADLINE = 60.0  # seconds; on a busy machine with slow processors a process starts within ten
MOST_PATIENT = 4  # times as long: pytest ends a test after five minutes
T = TypeVar("T")


def patiently(seconds: float) -> float:
    """A deadline that grows with the load of the machine: on a quiet one, a promised time is tested as it is."""
    return seconds * min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1), MOST_PATIENT)


@overload
async def eventually(check: Callable[[], Awaitable[T | None]], *, within: float | None = None) -> T: ...
@overload
async def eventually(check: Callable[[], bool], *, within: float | None = None) -> bool: ...
async def eventually(check: Callable[[], Awaitable[object] | bool], *, within: float | None = None) -> object:
    """Call `check` until its result is true, and return the result; after `within` seconds fail with the last result.

    Without `within`, the deadline grows with the load of the machine. An exception that `check` raises ends the wait,
    `TimeoutError` included.
    """
    value: object = None
    within = patiently(DEADLINE) if within is None else within
    try:
        async with asyncio.timeout(within) as deadline:
            value = await _outcome(check)
            while not value:
                await asyncio.sleep(0.02)
                value = await _outcome(check)
    except TimeoutError as error:
        if not deadline.expired():
            raise
        message = f"still {value!r} after {within:g} s"
        raise AssertionError(message) from error
    return value


async def _outcome(check: Callable[[], Awaitable[object] | bool]) -> object:
    outcome = check()
    return outcome if isinstance(outcome, bool) else await outcome
