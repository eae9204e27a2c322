"""The workers of a chaos test."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psutil

from app.settings import Settings
from tests.chaos.blows import LONGEST_FREEZE_S, Blow
from tests.e2e.conftest import Running, running

WORKERS = 2


class Crowd:
    """Two workers, each started again when it was killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._living: dict[int, Running] = {}
        self._ended = False

    @asynccontextmanager
    async def alive(self) -> AsyncIterator["Crowd"]:
        async with asyncio.TaskGroup() as group:
            keepers = [group.create_task(self._keep(place)) for place in range(WORKERS)]
            try:
                yield self
            finally:
                self._ended = True
                for keeper in keepers:
                    keeper.cancel()

    async def is_whole(self) -> bool:
        return len(self._living) == WORKERS

    async def _keep(self, place: int) -> None:
        while not self._ended:
            with suppress(AssertionError):  # NATS went away while it started: it has ended, to be started again
                async with running(self._settings, self._folder / f"worker-{place}.log") as worker:
                    self._living[place] = worker
                    await worker.process.wait()
                    self._living.pop(place, None)

    async def kill(self, chance: Random) -> Blow | None:
        """Kill a worker with SIGKILL; its engines end by themselves."""
        if not self._living:
            return None
        place, now = chance.choice(sorted(self._living)), datetime.now(UTC)
        worker = self._living.pop(place)
        worker.process.send_signal(signal.SIGKILL)
        return Blow("worker killed", str(worker.process.pid), now, now)

    async def freeze(self, chance: Random) -> Blow | None:
        """Freeze a worker and its engines for up to 20 s."""
        if not self._living:
            return None
        worker, began = self._living[chance.choice(sorted(self._living))], datetime.now(UTC)
        _signal_all(worker, signal.SIGSTOP)
        try:
            await asyncio.sleep(chance.uniform(1, LONGEST_FREEZE_S))
        finally:
            _signal_all(worker, signal.SIGCONT)
        return Blow("worker frozen", str(worker.process.pid), began, datetime.now(UTC))


def _signal_all(worker: Running, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(worker.process.pid)
        for process in [top, *top.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
