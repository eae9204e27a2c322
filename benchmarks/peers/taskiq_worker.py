"""Taskiq on NATS JetStream, acknowledged when the result is saved: in the Object Store, or (RESULTS_URL) in Redis."""

import asyncio
import os
import time
from typing import Annotated

from taskiq import TaskiqDepends
from taskiq.depends.progress_tracker import ProgressTracker, TaskState
from taskiq_nats import NATSObjectStoreResultBackend, PullBasedJetStreamBroker
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.peers.command import obey

AT_ONCE = 100  # publications
NATS_URL = os.environ["NATS_URL"]

_results = (
    RedisAsyncResultBackend(os.environ["RESULTS_URL"], result_ex_time=3600)
    if "RESULTS_URL" in os.environ
    else NATSObjectStoreResultBackend(NATS_URL)
)
broker = PullBasedJetStreamBroker(NATS_URL).with_result_backend(_results)


async def _no_op() -> float:
    return time.monotonic()


async def _told(progress: Annotated[ProgressTracker[int], TaskiqDepends()]) -> float:
    began = time.monotonic()
    await progress.set_progress(TaskState.STARTED, 0)
    await progress.set_progress(TaskState.SUCCESS, 100)
    return began


no_op = broker.register_task(_told if "TELL_PROGRESS" in os.environ else _no_op, task_name="no_op")


async def publish(count: int) -> None:
    """Publish no-op tasks."""
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(no_op.kiq() for _ in range(min(AT_ONCE, count - first))))


async def start() -> float:
    """Publish one; when it began."""
    task = await no_op.kiq()
    result = await task.wait_result(check_interval=0.01)
    return float(result.return_value)


if __name__ == "__main__":
    obey(publish, start, connect=broker.startup)
