"""What chaos does: kills and freezes workers and servers, and notes whom it hurt and when."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from app.embedded import Server

PAUSE_S = (2, 6)  # between two blows
LONGEST_FREEZE_S = 20.0


@dataclass(frozen=True)
class Blow:
    """What was done to whom: the process id of a worker, or the name of a server."""

    what: str
    whom: str
    began: datetime
    ended: datetime

    def falls_into(self, begin: datetime, end: datetime, *, later_s: float = 0) -> bool:
        """Whether the blow, or the `later_s` seconds after it, and this time have a moment in common."""
        return self.began <= end and begin <= self.ended + timedelta(seconds=later_s)


Way = Callable[[Random], Awaitable[Blow | None]]
Hurt = Callable[[Sequence[Server], Random], Awaitable[Blow]]


async def strike(ways: Mapping[Way, float], chance: Random, seconds: float) -> list[Blow]:
    """Hurt somebody every few seconds until the time is up; each way has its weight."""
    blows, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        (way,) = chance.choices(list(ways), list(ways.values()))
        blow = await way(chance)
        if blow is not None:
            blows.append(blow)
    return blows


async def kill(servers: Sequence[Server], chance: Random) -> Blow:
    """Kill a server with SIGKILL and start it again up to two seconds later."""
    server = chance.choice(servers)
    began = datetime.now(UTC)
    await server.kill()
    await asyncio.sleep(chance.uniform(0, 2))
    await server.start()
    return Blow("server killed", server.folder.name, began, datetime.now(UTC))


async def freeze(servers: Sequence[Server], chance: Random) -> Blow:
    """Freeze a server for up to 20 s."""
    server = chance.choice(servers)
    began = datetime.now(UTC)
    server.pause()
    try:
        await asyncio.sleep(chance.uniform(1, LONGEST_FREEZE_S))
    finally:
        server.resume()
    return Blow("server frozen", server.folder.name, began, datetime.now(UTC))
