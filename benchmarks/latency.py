"""How soon a task starts, with few and many waiting tasks, and how many tasks without work a worker does a second."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from natscribe.jetstream.streams import QUEUE_LENGTH
from natscribe.schemas.wire import Priority

from benchmarks import waiting
from benchmarks.client import TimedClient
from benchmarks.report import Findings, Table, milliseconds, quantile, ratio, whole
from benchmarks.service import NO_OP, serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh
from benchmarks.tasks_a_second import tasks_a_second

WARM_UP = 10  # tasks
IDLE_S = 0.02  # between tasks


@dataclass(frozen=True)
class Row:
    """The results with this number of waiting tasks: seconds, and tasks per second."""

    waiting: int
    idle: list[float]
    busy: list[float] | None = None
    drained: float | None = None


async def measure(sizes: Sizes) -> Findings:
    """Measure an empty queue, then fuller and fuller ones, then tasks without work."""
    sizes.log("nothing waits")
    async with fresh() as stack:
        rows = [Row(0, await _idle(stack, sizes))]
    for count in sizes.waiting:
        rows.append(await _behind(count, sizes))  # noqa: PERF401 -- one after the other, for the eye
    sizes.log("tasks without work, one after the other")
    async with fresh() as stack:
        rate = await tasks_a_second(stack, sizes.no_op_tasks)
    empty, fullest = rows[0].idle, rows[-1].idle
    figures = {
        "start_p50_ms": 1000 * quantile(empty, 0.5),
        "start_p99_ms": 1000 * quantile(empty, 0.99),
        "start_behind_most_over_empty": quantile(fullest, 0.5) / quantile(empty, 0.5),
        "waiting_most": float(rows[-1].waiting),
        "tasks_a_second": rate,
    }
    return Findings([_starts_table(rows, rate, sizes)], figures)


async def _behind(count: int, sizes: Sizes) -> Row:
    sizes.log(f"{count:,} wait: filling the queue")
    async with fresh(partial(waiting.fill, count=count)) as stack:
        sizes.log(f"{count:,} wait: urgent tasks, idle worker")
        idle = await _idle(stack, sizes, held=count)
        async with serving(stack, NO_OP, changed=True, nats_max_msgs_per_subject=2 * count):
            before, began = await waiting.still_waiting(stack), time.perf_counter()
            sizes.log(f"{count:,} wait: the worker serves them")
            await asyncio.sleep(sizes.watched)
            drained = (before - await waiting.still_waiting(stack)) / (time.perf_counter() - began)
            sizes.log(f"{count:,} wait: urgent tasks meanwhile")
            busy = await starts(stack, sizes.urgent_starts) if drained * sizes.watched < before else None
            return Row(count, idle, busy, drained)


async def _idle(stack: Stack, sizes: Sizes, *, held: int = 0) -> list[float]:
    """Seconds to each start, on several workers, because workers differ a little; `held`: tasks that may not start."""
    delays: list[float] = []
    limit = 2 * held or QUEUE_LENGTH
    for _ in range(sizes.starters):
        async with serving(
            stack, NO_OP, changed=bool(held), nats_max_msgs_per_subject=limit, user_max_running=min(held, 1)
        ) as worker:
            if held:
                await waiting.until_read(stack, worker, held)
            delays += await starts(stack, sizes.starts)
    return delays


async def starts(stack: Stack, count: int) -> list[float]:
    """Seconds from the publication of an urgent task to its first `running`, one task after the other."""
    client, delays = TimedClient(stack.nats), []
    for _ in range(WARM_UP + count):
        delays.append((await client.run("none", priority=Priority.HIGH)).running)
        await asyncio.sleep(IDLE_S)
    return delays[WARM_UP:]


def _starts_table(rows: list[Row], rate: float, sizes: Sizes) -> Table:
    empty = quantile(rows[0].idle, 0.5)
    return Table(
        "From publication to the first `running` by tasks that wait, milliseconds",
        ("waiting", "idle p50", "p99", "p50 / nothing waits", "busy p50", "p99", "waiting tasks served a second"),
        [
            (
                f"{row.waiting:,}",
                milliseconds(quantile(row.idle, 0.5)),
                milliseconds(quantile(row.idle, 0.99)),
                ratio(quantile(row.idle, 0.5) / empty),
                milliseconds(quantile(row.busy, 0.5) if row.busy else None),
                milliseconds(quantile(row.busy, 0.99) if row.busy else None),
                whole(row.drained),
            )
            for row in rows
        ],
        [
            f"{sizes.starters} workers in turn, {sizes.starts} tasks in the high queue each, one after the other.",
            f"The others wait in the low queue, those of {waiting.USERS:,} users.",
            "As many logs of other tasks have `queued`, and the projection counts them as written to Redis.",
            "Idle: the users of the low queue are at their limit of running tasks, so only the length counts.",
            "Idle figures are of a worker that has read the queue, which takes a minute for a million tasks.",
            f"Busy: the worker serves the low queue; {sizes.urgent_starts} urgent tasks wait for what runs.",
            "Busy figures are of one worker, for a few seconds.",
            "NATS_MAX_MSGS_PER_SUBJECT is raised; the queue is filled without waiting for the disk, measured with it.",
            f"Without work, a warm worker does {whole(rate)} tasks a second (of {sizes.no_op_tasks:,} waiting).",
        ],
    )
