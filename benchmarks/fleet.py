"""What a fleet of workers costs NATS while it is idle, while it starts, and while it runs scripted tasks."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import psutil

from benchmarks.api_requests import ApiRequests, api_requests
from benchmarks.client import TimedClient
from benchmarks.fleet_workers import TASK_S
from benchmarks.memory import processor_time
from benchmarks.programs import Program, running
from benchmarks.report import Findings, Table, milliseconds, percent, quantile, seconds
from benchmarks.sizes import Sizes
from benchmarks.stack import MeasurementError, Stack, fresh, python

PROCESSES = 4  # at most; further workers share them
SETTLE_S = 5.0  # between the start and the measurement of idle workers
FEWEST_STARTS = 20


@dataclass(frozen=True)
class Fleet:
    """Workers in processes, and the servers they are connected to."""

    stack: Stack
    programs: Sequence[Program]
    workers: int


@dataclass(frozen=True)
class Usage:
    """The processor time that workers and server have used until a time, or between two times, in seconds."""

    seconds: float
    worker_time: float
    server_time: float

    @classmethod
    def until_now(cls, fleet: Fleet) -> "Usage":
        """Read the processor times of all workers and of the server."""
        workers = processor_time([psutil.Process(program.pid) for program in fleet.programs])
        return cls(time.perf_counter(), workers, processor_time([psutil.Process(fleet.stack.nats_pid)]))

    def per_second_since(self, before: "Usage") -> "Usage":
        """Return the use per second since an earlier time."""
        used = {name: value - getattr(before, name) for name, value in vars(self).items()}
        return Usage(**{name: value / used["seconds"] for name, value in used.items()})


@dataclass(frozen=True)
class Busy:
    """The results of scripted tasks."""

    tasks: float  # per second
    used: Usage
    starts: Sequence[float]  # seconds from publication to `running` at half of the possible rate


@dataclass(frozen=True)
class Row:
    """The results of a fleet; rates are per second, of all workers together."""

    workers: int
    first: ApiRequests  # until all consume tasks; no streams existed before
    again: ApiRequests
    idle: Usage
    requests: ApiRequests  # while idle
    busy: Busy | None  # None: too many workers for this machine


async def measure(sizes: Sizes) -> Findings:
    """Measure fleets of different sizes."""
    rows: list[Row] = []
    for count in sizes.fleets:
        try:
            rows.append(await _measured(count, sizes))
        except (MeasurementError, TimeoutError) as error:  # this number does not fit on this machine
            sizes.log(f"{count} workers could not be measured: {error}")
    figures = {
        "fleet_most": float(rows[-1].workers),
        "fleet_requests_of_one": rows[0].requests.others / rows[0].requests.seconds,
        "fleet_requests_of_most": rows[-1].requests.others / rows[-1].requests.seconds,
        "fleet_start_of_most": rows[-1].again.seconds,
        "fleet_tasks_a_second": max(row.busy.tasks for row in rows if row.busy),
    }
    return Findings([_idle_table(rows), _start_table(rows), _task_table(rows)], figures)


async def _measured(workers: int, sizes: Sizes) -> Row:
    async with fresh() as stack:
        sizes.log(f"{workers} workers start without streams")
        async with _processes(stack, workers) as programs:
            first = await _start(Fleet(stack, programs, workers))
        async with _processes(stack, workers) as programs:
            fleet = Fleet(stack, programs, workers)
            sizes.log(f"{workers} workers start with streams")
            again = await _start(fleet)
            await asyncio.sleep(SETTLE_S)
            sizes.log(f"{workers} workers are idle")
            idle, requests = await _idle(fleet, sizes.fleet_idle_s)
            sizes.log(f"{workers} workers at half load, then busy")
            busy = await _busy(fleet, sizes.fleet_tasks)
        return Row(workers, first, again, idle, requests, busy)


@asynccontextmanager
async def _processes(stack: Stack, workers: int) -> AsyncIterator[Sequence[Program]]:
    """Run processes that have loaded the modules of the service, and wait for the number of workers to start."""
    command = python("benchmarks.fleet_workers")
    async with AsyncExitStack() as programs:
        yield await asyncio.gather(
            *(programs.enter_async_context(running(stack, command)) for _ in range(min(workers, PROCESSES)))
        )


async def _start(fleet: Fleet) -> ApiRequests:
    """Start all workers at once, spread evenly over the processes."""
    per_program, more = divmod(fleet.workers, len(fleet.programs))
    async with api_requests(fleet.stack.nats) as requests:
        await asyncio.gather(
            *(program.process(str(per_program + (number < more))) for number, program in enumerate(fleet.programs))
        )
    return requests


async def _idle(fleet: Fleet, interval: float) -> tuple[Usage, ApiRequests]:
    async with api_requests(fleet.stack.nats) as requests:
        before = Usage.until_now(fleet)
        await asyncio.sleep(interval)
        return Usage.until_now(fleet).per_second_since(before), requests


async def _busy(fleet: Fleet, per_worker: int) -> Busy | None:
    """Publish tasks at half of the possible rate, then enough for all workers at once."""
    client, tasks, count = TimedClient(fleet.stack.nats), [], per_worker * fleet.workers
    try:
        for _ in range(max(FEWEST_STARTS, count // 2)):
            tasks.append(asyncio.create_task(client.run("none")))
            await asyncio.sleep(2 * TASK_S / fleet.workers)
        starts = [outcome.running for outcome in await asyncio.gather(*tasks)]
        before = Usage.until_now(fleet)
        await asyncio.gather(*(client.run("none") for _ in range(count)))
    except TimeoutError:  # NATS does not acknowledge in time
        return None
    after = Usage.until_now(fleet)
    return Busy(count / (after.seconds - before.seconds), after.per_second_since(before), starts)


def _idle_table(rows: Sequence[Row]) -> Table:
    return Table(
        "Idle workers, per second",
        ("workers", "API requests", "pulls", "cores / worker", "cores of NATS"),
        [
            (
                str(row.workers),
                f"{row.requests.others / row.requests.seconds:.1f}",
                f"{row.requests.pulls / row.requests.seconds:.1f}",
                f"{row.idle.worker_time / row.workers:.4f}",
                f"{row.idle.server_time:.4f}",
            )
            for row in rows
        ],
        [
            f"Up to {PROCESSES} workers have a process each, further ones share these; each has its own connection.",
            "A scripted engine takes the place of the model. API requests: all of JetStream, except pulls.",
        ],
    )


def _start_table(rows: Sequence[Row]) -> Table:
    return Table(
        "Workers that start at the same time",
        ("workers", "no streams, s", "API requests", "streams changed", "again, s", "API requests", "streams changed"),
        [
            (str(row.workers), *(cell for start in (row.first, row.again) for cell in _start_cells(start)))
            for row in rows
        ],
        [
            "Seconds until all consume tasks, from a signal to processes that have loaded the modules of the service.",
            "Streams changed: created or updated, as nats-server reports, and how often the most changed one was.",
        ],
    )


def _start_cells(start: ApiRequests) -> tuple[str, ...]:
    changed = start.changes.values()
    return seconds(start.seconds), str(start.others), f"{len(changed)}, {max(changed, default=0)}x"


def _task_table(rows: Sequence[Row]) -> Table:
    return Table(
        f"Tasks of {TASK_S:g} s, scripted",
        ("workers", "tasks a second", "of the possible", "worker's ms / task", "of NATS", "start p50, ms", "p99"),
        [
            (
                str(row.workers),
                f"{busy.tasks:.1f}",
                percent(busy.tasks * TASK_S / row.workers),
                milliseconds(busy.used.worker_time / busy.tasks),
                milliseconds(busy.used.server_time / busy.tasks),
                milliseconds(quantile(busy.starts, 0.5)),
                milliseconds(quantile(busy.starts, 0.99)),
            )
            for row in rows
            if (busy := row.busy)
        ],
        [
            f"All servers, workers and the publisher share {len(os.sched_getaffinity(0))} cores.",
            "Milliseconds of processor time. Start: from publication to `running`, at half of the possible rate.",
        ],
    )
