"""Fault injection: kills and freezes servers, and records each fault with its time."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from tests.servers import Breakable

PAUSE_S = (2, 6)  # between two faults
LONGEST_FREEZE_S = 20.0


@dataclass(frozen=True)
class Fault:
    """An injected fault."""

    what: str
    target: str  # process id of a worker, or name of a server
    start: datetime
    end: datetime

    def overlaps(self, start: datetime, end: datetime, *, later_s: float = 0) -> bool:
        """Return whether the fault, or the `later_s` seconds after it, overlaps this interval."""
        return self.start <= end and start <= self.end + timedelta(seconds=later_s)


FaultInjector = Callable[[Random], Awaitable[Fault | None]]
ServerFault = Callable[[Sequence[Breakable], Random], Awaitable[Fault]]


async def inject_faults(injectors: Mapping[FaultInjector, float], chance: Random, seconds: float) -> list[Fault]:
    """Inject a fault every few seconds for `seconds`; each injector has a weight."""
    faults, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(chance.uniform(*PAUSE_S))
        (inject,) = chance.choices(list(injectors), list(injectors.values()))
        fault = await inject(chance)
        if fault is not None:
            faults.append(fault)
    return faults


async def kill(servers: Sequence[Breakable], chance: Random) -> Fault:
    """Kill a server with SIGKILL and start it again up to two seconds later."""
    server = chance.choice(servers)
    start = datetime.now(UTC)
    await server.kill()
    await asyncio.sleep(chance.uniform(0, 2))
    await server.start()
    return Fault("server killed", server.folder.name, start, datetime.now(UTC))


async def freeze(servers: Sequence[Breakable], chance: Random) -> Fault:
    """Freeze a server for up to 20 s."""
    server = chance.choice(servers)
    start = datetime.now(UTC)
    server.pause()
    try:
        await asyncio.sleep(chance.uniform(1, LONGEST_FREEZE_S))
    finally:
        server.resume()
    return Fault("server frozen", server.folder.name, start, datetime.now(UTC))
