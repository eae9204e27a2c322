"""Several lightweight workers in one process, each with its own connection: `python -m benchmarks.fleet_workers`.

Each line of the standard input is a number of workers to start; the process replies once they consume tasks, and
stops them at the end of its input.
"""

import asyncio

from benchmarks.peers.serving import serve
from benchmarks.scripted import scripted_worker

TASK_S = 1.0  # seconds that a scripted task takes


async def main() -> None:
    """Start workers until the standard input ends."""
    stop, lives = asyncio.Event(), asyncio.TaskGroup()

    async def live(consuming: asyncio.Event) -> None:
        worker = scripted_worker(TASK_S)

        @worker.app.after_startup
        async def note() -> None:
            consuming.set()

        async with worker.app.start_lifespan_context():
            await stop.wait()

    async def start(count: str) -> str:
        consuming = [asyncio.Event() for _ in range(int(count))]
        for event in consuming:
            lives.create_task(live(event))
        await asyncio.gather(*(event.wait() for event in consuming))
        return ""

    async with lives:
        await serve(start)
        stop.set()


if __name__ == "__main__":
    asyncio.run(main())
