"""Dramatiq on Redis with its results middleware; acknowledged late, as it always does."""

import asyncio
import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from benchmarks.peers.command import obey

broker = RedisBroker(url=os.environ["REDIS_URL"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["RESULTS_URL"])))
dramatiq.set_broker(broker)


def _no_op() -> float:
    return time.monotonic()


no_op = dramatiq.actor(_no_op, actor_name="no_op", store_results=True)


async def publish(count: int) -> None:
    """Publish no-op tasks."""
    for _ in range(count):
        no_op.send()


async def start() -> float:
    """Publish one; when it began."""
    return float(await asyncio.to_thread(no_op.send().get_result, block=True, timeout=10_000))


if __name__ == "__main__":
    obey(publish, start)
