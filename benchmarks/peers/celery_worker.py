"""Celery on Redis, results there too; acknowledged late, and again when a worker is lost."""

import asyncio
import os
import time

from celery import Celery

from benchmarks.peers.command import obey

app = Celery("peer", broker=os.environ["REDIS_URL"], backend=os.environ["RESULTS_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)


def _no_op() -> float:
    return time.monotonic()


no_op = app.task(_no_op, name="no_op")


async def publish(count: int) -> None:
    """Publish no-op tasks."""
    for _ in range(count):
        no_op.delay()


async def start() -> float:
    """Publish one; when it began."""
    return float(await asyncio.to_thread(no_op.delay().get, timeout=10, interval=0.01))


if __name__ == "__main__":
    obey(publish, start)
