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
from tests.chaos.faults import LONGEST_FREEZE_S, Fault
from tests.e2e.conftest import Running, running

WORKERS = 2


class WorkerGroup:
    """Two workers, each restarted after it was killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._running: dict[int, Running] = {}
        self._ended = False

    @asynccontextmanager
    async def alive(self) -> AsyncIterator["WorkerGroup"]:
        async with asyncio.TaskGroup() as group:
            supervisors = [group.create_task(self._supervise(number)) for number in range(WORKERS)]
            try:
                yield self
            finally:
                self._ended = True
                for supervisor in supervisors:
                    supervisor.cancel()

    async def is_complete(self) -> bool:
        return len(self._running) == WORKERS

    async def _supervise(self, number: int) -> None:
        while not self._ended:
            with suppress(AssertionError):  # the worker has ended because NATS was unavailable during its start
                async with running(self._settings, self._folder / f"worker-{number}.log") as worker:
                    self._running[number] = worker
                    await worker.process.wait()
                    self._running.pop(number, None)

    async def kill(self, chance: Random) -> Fault | None:
        """Kill a worker with SIGKILL; its engines end by themselves."""
        if not self._running:
            return None
        number, now = chance.choice(sorted(self._running)), datetime.now(UTC)
        worker = self._running.pop(number)
        worker.process.send_signal(signal.SIGKILL)
        return Fault("worker killed", str(worker.process.pid), now, now)

    async def freeze(self, chance: Random) -> Fault | None:
        """Freeze a worker and its engines for up to 20 s."""
        if not self._running:
            return None
        worker, start = self._running[chance.choice(sorted(self._running))], datetime.now(UTC)
        _signal_all(worker, signal.SIGSTOP)
        try:
            await asyncio.sleep(chance.uniform(1, LONGEST_FREEZE_S))
        finally:
            _signal_all(worker, signal.SIGCONT)
        return Fault("worker frozen", str(worker.process.pid), start, datetime.now(UTC))


def _signal_all(worker: Running, signum: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(worker.process.pid)
        for process in [top, *top.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signum)
