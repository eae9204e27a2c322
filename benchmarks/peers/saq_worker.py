"""SAQ on Redis; a job stays in the active list until its result is stored, as it always does."""

import asyncio
import os
import time

from saq import Queue

from benchmarks.peers.command import obey

AT_ONCE = 10  # publications

queue = Queue.from_url(os.environ["REDIS_URL"])


async def no_op(_: dict[str, object]) -> float:
    """Do nothing; when it began."""
    return time.monotonic()


settings = {"queue": queue, "functions": [no_op], "concurrency": int(os.environ["AT_ONCE"])}


async def publish(count: int) -> None:
    """Publish no-op tasks."""
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(queue.enqueue("no_op") for _ in range(min(AT_ONCE, count - first))))


async def start() -> float:
    """Publish one; when it began."""
    return float(await queue.apply("no_op"))


if __name__ == "__main__":
    obey(publish, start, connect=queue.connect)
