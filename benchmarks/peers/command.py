"""What the measurement asks of a peer's module: `publish COUNT`, or `starts COUNT`. Standard library only."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable

WARM_UP = 10  # tasks before the first one that counts
IDLE = 0.02  # seconds between tasks
LONGEST = 30.0  # seconds; who is slow is asked less often


def obey(
    publish: Callable[[int], Awaitable[None]],
    start: Callable[[], Awaitable[float]],
    connect: Callable[[], Awaitable[object]] | None = None,
) -> None:
    """Publish so many no-op tasks, or print a list of the seconds from publication to the start of the function.

    `start` publishes one task and gives the time at which its function began, by the clock that all processes share.
    """
    asyncio.run(_obey(publish, start, connect))


async def _obey(
    publish: Callable[[int], Awaitable[None]],
    start: Callable[[], Awaitable[float]],
    connect: Callable[[], Awaitable[object]] | None,
) -> None:
    asked, count = sys.argv[1], int(sys.argv[2])
    if connect is not None:
        await connect()
    if asked == "publish":
        await publish(count)
    else:
        sys.stdout.write(json.dumps(await _starts(start, count)))


async def _starts(start: Callable[[], Awaitable[float]], count: int) -> list[float]:
    delays: list[float] = []
    deadline = time.monotonic() + LONGEST
    while len(delays) < WARM_UP + count and (published := time.monotonic()) < deadline:
        delays.append(await start() - published)
        await asyncio.sleep(IDLE)
    return delays[WARM_UP:]
