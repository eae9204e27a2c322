"""What a fleet costs: the requests, messages and processor time of idle workers, their starts, and tasks a second."""

import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from app.embedded import NatsServer, free_port
from app.embedded import running as running_servers
from benchmarks.api_requests import ApiRequests, api_requests
from benchmarks.memory import MIB, processor_time
from benchmarks.programs import Program, running
from benchmarks.report import Findings, Table
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, python, stack_with

PROCESSES = 8  # at most; more workers than that share them
SETTLE_S = 5.0


@dataclass(frozen=True)
class Start:
    """The start of all workers at the same time."""

    seconds: float  # until all consume tasks
    requests: ApiRequests


@dataclass(frozen=True)
class Idle:
    """What one worker costs per second while idle, and what the fleet costs."""

    api: float  # requests of the fleet
    sent: float  # messages of a worker
    received: float
    worker_cores: float
    server_cores: float
    worker_mib: float


@dataclass(frozen=True)
class Row:
    """The results of a number of workers."""

    workers: int
    first: Start  # without streams
    again: Start
    idle: Idle
    by_kind: dict[str, float]  # API requests per second of the fleet


@dataclass(frozen=True)
class Fleet:
    """Running workers and the server they are connected to."""

    stack: Stack
    server: NatsServer
    monitoring: int  # port
    programs: Sequence[Program]
    workers: int


@dataclass(frozen=True)
class Counters:
    """The counters of the server for the connections of workers, and processor time."""

    at: float
    sent: int
    received: int
    workers: float
    server: float

    @classmethod
    async def of(cls, fleet: Fleet) -> "Counters":
        """Read them now."""
        connections = (await asyncio.to_thread(_monitored, fleet.monitoring, "connz?limit=4096"))["connections"]
        theirs = [row for row in connections if row["cid"] != fleet.stack.nats.client_id]
        return cls(
            time.perf_counter(),
            sum(row["in_msgs"] for row in theirs),  # into the server
            sum(row["out_msgs"] for row in theirs),
            processor_time([psutil.Process(program.pid) for program in fleet.programs]),
            processor_time([psutil.Process(fleet.server.pid)]),
        )


async def measure(sizes: Sizes) -> Findings:
    """Measure fleets of different sizes."""
    rows = [await _measured(count, sizes) for count in sizes.fleets]
    return Findings([_idle_table(rows), _kinds_table(rows[-1]), _start_table(rows)])


async def _measured(count: int, sizes: Sizes) -> Row:
    async with _servers() as (stack, server, monitoring):
        sizes.log(f"{count} workers start without streams")
        async with _fleet(stack, server, monitoring, count) as fleet:
            first = await _start(fleet)
        async with _fleet(stack, server, monitoring, count) as fleet:
            sizes.log(f"{count} workers start again")
            again = await _start(fleet)
            await asyncio.sleep(SETTLE_S)
            sizes.log(f"{count} workers are idle")
            idle, by_kind = await _idle(fleet, sizes.fleet_idle_s)
        return Row(count, first, again, idle, by_kind)


@asynccontextmanager
async def _servers() -> AsyncIterator[tuple[Stack, NatsServer, int]]:
    """Empty servers; NATS with its monitoring."""
    monitoring = free_port()
    with tempfile.TemporaryDirectory(prefix="natscribe-bench-") as name:
        server = NatsServer(Path(name) / "nats", free_port(), more_config=f'http: "127.0.0.1:{monitoring}"\n')
        async with running_servers(server), stack_with(Path(name), server.url) as stack:
            yield stack, server, monitoring


@asynccontextmanager
async def _fleet(stack: Stack, server: NatsServer, monitoring: int, workers: int) -> AsyncIterator[Fleet]:
    """Processes that have loaded the modules of the service, and wait for the number of workers to start."""
    command = python("benchmarks.fleet_workers")
    async with AsyncExitStack() as programs:
        opened = [await programs.enter_async_context(running(stack, command)) for _ in range(min(workers, PROCESSES))]
        yield Fleet(stack, server, monitoring, opened, workers)


async def _start(fleet: Fleet) -> Start:
    """Start all workers at once, spread evenly over the processes."""
    each, more = divmod(fleet.workers, len(fleet.programs))
    async with api_requests(fleet.stack.nats) as requests:
        began = time.perf_counter()
        await asyncio.gather(
            *(program.process(str(each + (number < more))) for number, program in enumerate(fleet.programs))
        )
        return Start(time.perf_counter() - began, requests)


async def _idle(fleet: Fleet, seconds: float) -> tuple[Idle, dict[str, float]]:
    """Read the server's counters around an interval; then count the requests in another, as counting costs messages."""
    before = await Counters.of(fleet)
    await asyncio.sleep(seconds)
    after = await Counters.of(fleet)
    taken, workers = after.at - before.at, fleet.workers
    began = time.perf_counter()
    async with api_requests(fleet.stack.nats) as requests:
        await asyncio.sleep(seconds)
    counted = time.perf_counter() - began
    idle = Idle(
        requests.by_kind.total() / counted,
        (after.sent - before.sent) / taken / workers,
        (after.received - before.received) / taken / workers,
        (after.workers - before.workers) / taken / workers,
        (after.server - before.server) / taken,
        sum(psutil.Process(program.pid).memory_info().rss for program in fleet.programs) / MIB / workers,
    )
    return idle, {kind: number / counted for kind, number in requests.by_kind.most_common()}


def _monitored(port: int, page: str) -> dict[str, Any]:
    """Read a page of the server's monitoring."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=5) as response:
        content: dict[str, Any] = json.loads(response.read())
        return content


def _idle_table(rows: Sequence[Row]) -> Table:
    return Table(
        "Idle workers, per second",
        ("workers", "API requests", "/ worker", "sent / worker", "received / worker", "worker cores", "server cores"),
        [
            (
                str(row.workers),
                f"{row.idle.api:.1f}",
                f"{row.idle.api / row.workers:.2f}",
                f"{row.idle.sent:.1f}",
                f"{row.idle.received:.1f}",
                f"{row.idle.worker_cores:.4f}",
                f"{row.idle.server_cores:.4f}",
            )
            for row in rows
        ],
        [
            f"Up to {PROCESSES} workers have a process each, more share these; each has a connection of its own.",
        ],
    )


def _kinds_table(row: Row) -> Table:
    return Table(
        f"API requests of {row.workers} idle workers, per second",
        ("", "fleet", "/ worker"),
        [(f"`{kind}`", f"{rate:.2f}", f"{rate / row.workers:.2f}") for kind, rate in row.by_kind.items()],
    )


def _start_table(rows: Sequence[Row]) -> Table:
    return Table(
        "Workers that start at the same time",
        ("workers", "without streams, s", "API requests", "changes", "again, s", "API requests", "changes"),
        [
            (str(row.workers), *(cell for start in (row.first, row.again) for cell in _start_cells(start)))
            for row in rows
        ],
    )


def _start_cells(start: Start) -> tuple[str, str, str]:
    changes = start.requests.changes
    return f"{start.seconds:.1f}", str(start.requests.by_kind.total()), f"{changes.total()} of {len(changes)} streams"
