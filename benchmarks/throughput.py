"""How many tasks a second a queue gets through when there is nothing to do in them, and how soon it begins with one."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil

from benchmarks.peers.registry import Shape
from benchmarks.queues import BARE, BARE_FASTSTREAM, OURS, Queue, queues
from benchmarks.report import Findings, Table, milliseconds, quantile, ratio, whole
from benchmarks.sizes import Sizes
from benchmarks.stack import READY_WITHIN, Child, MeasurementError, SlowError, Stack, fresh

WARM_UP = 20  # tasks
LONGEST = 15.0  # seconds for one figure; what is done by then counts
KEPT = {  # of whom README speaks
    OURS: "tasks_a_second",
    BARE: "tasks_a_second_bare",
    BARE_FASTSTREAM: "tasks_a_second_faststream",
    "Taskiq + taskiq-nats, results in NATS": "tasks_a_second_taskiq",
    "Taskiq + taskiq-nats, progress and results in NATS": "tasks_a_second_taskiq_alike",
}
EXPLAINED = {"swept": 'its own search for lost jobs ended one of them ("swept")'}
LOOK_EVERY = 0.1  # seconds: who looks needs a part of the machine, too


@dataclass
class Row:
    """What was found of one queue; tasks a second, and seconds."""

    queue: Queue
    one_at_a_time: float | None = None
    one_process: float | None = None
    two_processes: float | None = None
    delays: list[float] = field(default_factory=list)
    failure: str | None = None


async def measure(sizes: Sizes) -> Findings:
    """Measure ours and the peers', each on servers of its own."""
    rows = [await _measured(queue, sizes) for queue in queues(peers=sizes.peers)]
    return Findings([_throughput(rows, sizes), _delays(rows, sizes)], _figures(rows))


async def _measured(queue: Queue, sizes: Sizes) -> Row:
    row, usual = Row(queue), Shape(1, queue.usual)
    if not queue.installed:
        row.failure = "not installed here"
        return row
    try:
        sizes.tell(f"{queue.name}: one process")
        row.one_process = await _rate(queue, usual, sizes.no_op_tasks)
        sizes.tell(f"{queue.name}: one process, one task at a time")
        row.one_at_a_time = row.one_process if queue.usual == 1 else await _rate(queue, Shape(1, 1), sizes.no_op_tasks)
        if queue.scales:
            sizes.tell(f"{queue.name}: two processes")
            row.two_processes = await _rate(queue, Shape(2, queue.usual), sizes.no_op_tasks)
        sizes.tell(f"{queue.name}: how soon it starts")
        async with fresh() as stack, queue.working(stack, usual):
            row.delays = await queue.starts(stack, sizes.starts)
    except MeasurementError as error:
        failure = str(error).strip().splitlines()[-1]
        row.failure = EXPLAINED.get(failure, failure)
    return row


async def _rate(queue: Queue, shape: Shape, count: int) -> float:
    """Tasks a second from the moment at which warm workers are let go to the last that is stored."""
    async with fresh() as stack, queue.working(stack, shape) as workers:
        await queue.publish(stack, WARM_UP)
        await _ended(queue, stack, workers, WARM_UP, within=READY_WITHIN)
        with held(workers):
            await queue.publish(stack, count)
        before = await queue.ended(stack, WARM_UP + count)
        began = time.perf_counter()
        with suppress(SlowError):
            await _ended(queue, stack, workers, WARM_UP + count, within=LONGEST)
        seconds = time.perf_counter() - began
        return (await queue.ended(stack, WARM_UP + count) - before) / seconds


async def _ended(queue: Queue, stack: Stack, workers: Sequence[Child], count: int, *, within: float) -> None:
    async def all_ended() -> bool:
        return await queue.ended(stack, count) >= count

    await workers[0].until(all_ended, every=LOOK_EVERY, within=within)


@contextmanager
def held(workers: Sequence[Child]) -> Iterator[None]:
    """Stop all processes of the workers for a while, so that the publisher has the machine for itself."""
    processes = [process for worker in workers for process in worker.tree()]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.resume()


def _throughput(rows: list[Row], sizes: Sizes) -> Table:
    ours = rows[0].one_process
    return Table(
        "No-op tasks a second",
        ("", "1 process, 1 at a time", "1 process", "at once", "2 processes", "ours / its 1 process"),
        [
            (
                row.queue.name,
                whole(row.one_at_a_time),
                whole(row.one_process),
                str(row.queue.usual),
                whole(row.two_processes),
                ratio(ours / row.one_process if ours and row.one_process else None),
            )
            for row in rows
        ],
        [
            f"{sizes.no_op_tasks} tasks, published while warm workers are held; from their release to the last result.",
            *(f"{row.queue.name}: {row.queue.promise}." for row in rows),
            *(f"{row.queue.name} was not measured to the end: {row.failure}." for row in rows if row.failure),
        ],
    )


def _delays(rows: list[Row], sizes: Sizes) -> Table:
    heard = (
        f"{OURS} and those that say the same words: until another client has heard `running`, stored by then. "
        "The others: until their function begins, which nobody else can see."
    )
    return Table(
        "From publication to the start, milliseconds",
        ("", "p50", "p99"),
        [
            (row.queue.name, milliseconds(quantile(row.delays, 0.5)), milliseconds(quantile(row.delays, 0.99)))
            for row in rows
            if row.delays
        ],
        [f"One idle process, {sizes.starts} tasks, one after the other, or as many as half a minute allows.", heard],
    )


def _figures(rows: list[Row]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for row in rows:
        name = KEPT.get(row.queue.name)
        if name and row.one_process and row.one_at_a_time:
            figures |= {name: row.one_process, f"{name}_one": row.one_at_a_time}
    return figures
