"""How soon a task starts, and how many tasks without work a worker does a second, on three NATS servers and on one."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.latency import starts
from benchmarks.report import Findings, Table, milliseconds, quantile, ratio, whole
from benchmarks.service import NO_OP, serving
from benchmarks.sizes import Sizes
from benchmarks.stack import Stack, fresh, stack_with
from benchmarks.tasks_a_second import tasks_a_second
from tests.nats_cluster import nats_cluster_in


@dataclass(frozen=True)
class Setup:
    """Where the streams are, and what was measured there: seconds to each start, and tasks a second of each round."""

    name: str
    nodes: int
    replicas: int
    starts: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def servers(self) -> AbstractAsyncContextManager[Stack]:
        """Servers without any data."""
        return fresh() if self.nodes == 1 else _fresh_cluster()

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 tasks have started."""
        return quantile(self.starts, 0.99)


async def measure(sizes: Sizes) -> Findings:
    """Measure the three setups in turn, round by round, so that all run on the machine in the same state."""
    setups = [
        Setup("one server", 1, 1),
        Setup("three servers, one replica", 3, 1),
        Setup("three servers, three replicas", 3, 3),
    ]
    for number in range(sizes.starters):
        for setup in setups:
            sizes.log(f"round {number + 1}: {setup.name}")
            await _round(setup, sizes)
    one, _, three = setups
    figures = {
        "replicas_start_p50_ms": 1000 * quantile(three.starts, 0.5),
        "replicas_start_p99_ms": 1000 * three.p99,
        "replicas_start_p99_over_one": three.p99 / one.p99,
    }
    return Findings([_table(setups, sizes)], figures)


async def _round(setup: Setup, sizes: Sizes) -> None:
    async with setup.servers() as stack:
        async with serving(stack, NO_OP, nats_replicas=setup.replicas):
            setup.starts.extend(await starts(stack, sizes.starts))
        setup.rates.append(await tasks_a_second(stack, _tasks(sizes), replicas=setup.replicas))


@asynccontextmanager
async def _fresh_cluster() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="natscribe-bench-") as name:
        async with nats_cluster_in(Path(name) / "nats") as cluster, stack_with(Path(name), cluster.url) as stack:
            yield stack


def _tasks(sizes: Sizes) -> int:
    return sizes.no_op_tasks // 4


def _table(setups: list[Setup], sizes: Sizes) -> Table:
    one, rate = setups[0], median(setups[0].rates)
    return Table(
        "From publication to the first `running`, milliseconds, and tasks without work, one worker",
        ("", "start p50", "/ one server", "p99", "/ one server", "tasks a second", "/ one server"),
        [
            (
                setup.name,
                milliseconds(quantile(setup.starts, 0.5)),
                ratio(quantile(setup.starts, 0.5) / quantile(one.starts, 0.5)),
                milliseconds(setup.p99),
                ratio(setup.p99 / one.p99),
                whole(median(setup.rates)),
                ratio(median(setup.rates) / rate),
            )
            for setup in setups
        ],
        [
            f"{sizes.starters} rounds, the three in turn; each time a new worker, {sizes.starts} starts one by one.",
            f"Tasks a second: the median of the rounds, {_tasks(sizes):,} tasks each.",
            "All servers share the cores and the disk of this machine; each waits for the disk before it acknowledges.",
            "The goal: with three replicas, p99 of the starts is at most 3 times that of one server.",
        ],
    )
