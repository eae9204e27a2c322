"""A worker as a process of its own, whose engine needs no model: `python -m tests.fakes.worker`."""

import asyncio

from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.workers import working

STARTED = "the fake worker has started"


class SteadyEngine(FakeEngine):
    """Transcribes a window every 0.1 s for 15 minutes."""

    def __init__(self) -> None:
        super().__init__(windows=9000)

    async def transcribes(self, number: int) -> None:
        del number
        await asyncio.sleep(0.1)


async def main() -> None:
    """Work until the process is killed."""
    async with working(Settings(_env_file=None), SteadyEngine()):
        print(STARTED, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
