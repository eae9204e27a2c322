"""How many tasks without work one worker does a second, one after the other."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import psutil
from nats.js import JetStreamContext
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority, TaskType

from benchmarks.service import NO_OP, serving
from benchmarks.stack import Child, Stack

WARM_UP = 20  # tasks
PUBLISHED_AT_ONCE = 100  # tasks
ENDS_READ_EVERY_S = 0.1  # a read takes processor time from the worker
SUBJECT = subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)


async def tasks_a_second(stack: Stack, count: int, *, replicas: int = 1) -> float:
    """Measure a warm worker from the moment it is resumed to the last result and the last state in Redis.

    It is held while the tasks are published, so that neither its start nor the publisher is in the time.

    Raises:
        MeasurementError: The worker has ended, or the tasks took more than a minute.
    """
    js = stack.nats.jetstream()
    async with serving(stack, NO_OP, nats_replicas=replicas) as worker:
        await _publish(js, WARM_UP)
        await worker.until(partial(_all_ended, stack, WARM_UP), every=ENDS_READ_EVERY_S)
        with _held(worker):
            await _publish(js, count)
        began = time.perf_counter()
        await worker.until(partial(_all_ended, stack, WARM_UP + count), every=ENDS_READ_EVERY_S)
        return count / (time.perf_counter() - began)


async def _publish(js: JetStreamContext, count: int) -> None:
    for first in range(0, count, PUBLISHED_AT_ONCE):
        await asyncio.gather(*(_publish_one(js) for _ in range(min(PUBLISHED_AT_ONCE, count - first))))


async def _publish_one(js: JetStreamContext) -> None:
    task_id = secrets.token_hex(8)
    task = {"task_id": task_id, "audio_file_id": "none", "user_id": 1}
    await js.publish(SUBJECT, json.dumps(task).encode(), headers={"Nats-Msg-Id": task_id})


async def _all_ended(stack: Stack, count: int) -> bool:
    """Whether Redis has the result and the last state of this number of tasks."""
    results = [key async for key in stack.redis.scan_iter("task:*:result", count=10 * count)]
    if len(results) < count:
        return False
    states = await stack.redis.mget([key.replace(b":result", b":info") for key in results])
    return sum(b'"state":"completed"' in state for state in states if state is not None) >= count


@contextmanager
def _held(worker: Child) -> Iterator[None]:
    """Stop all processes of the worker (SIGSTOP) until the body ends."""
    processes = worker.tree()
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()
