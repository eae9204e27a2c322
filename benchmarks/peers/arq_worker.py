"""arq on Redis; a job is taken from the queue when its result is stored, as it always does."""

import asyncio
import os
import time
from typing import ClassVar

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks.peers.command import obey

AT_ONCE = 10  # publications
SERVER = RedisSettings.from_dsn(os.environ["REDIS_URL"])

_pools: list[ArqRedis] = []


async def no_op(_: dict[str, object]) -> float:
    """Do nothing; when it began."""
    return time.monotonic()


class WorkerSettings:
    """What `arq` runs."""

    functions: ClassVar = [no_op]
    redis_settings = SERVER
    max_jobs = int(os.environ["AT_ONCE"])


async def connect() -> None:
    """Open the pool."""
    _pools.append(await create_pool(SERVER))


async def publish(count: int) -> None:
    """Publish no-op tasks."""
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(_pools[0].enqueue_job("no_op") for _ in range(min(AT_ONCE, count - first))))


async def start() -> float:
    """Publish one; when it began."""
    job = await _pools[0].enqueue_job("no_op")
    return float(await job.result(timeout=10, poll_delay=0.01))


if __name__ == "__main__":
    obey(publish, start, connect)
