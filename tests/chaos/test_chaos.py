"""Chaos: workers are killed and frozen, and servers killed, while recordings and live tasks run; each task ends once.

CHAOS_CLUSTER=1 runs three NATS servers with three replicas, of which one at a time is killed or frozen. Otherwise a
second, shorter run cuts the power of the NATS server and its disk.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import nats
import pytest

from app.settings import Settings
from tests.chaos.disk import cut_power, nats_on_its_own_disk
from tests.chaos.faults import Fault, FaultInjector, ServerFault, freeze, inject_faults, kill
from tests.chaos.grants import observed_grants, sequences_of
from tests.chaos.speakers import speak, transcription_errors
from tests.chaos.tasks import connected, publish
from tests.chaos.verdict import Verdict, logs_of, unreadable_results
from tests.chaos.worker_group import WorkerGroup
from tests.nats_cluster import NatsCluster, nats_cluster_in
from tests.servers import nats_server_in, valkey_in
from tests.waiting import MOST_PATIENT, eventually, patiently

SECONDS = float(os.environ.get("CHAOS_SECONDS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", str(random.randrange(2**32))))  # noqa: S311 -- printed, to be repeated
CLUSTER = os.environ.get("CHAOS_CLUSTER") == "1"
MOST_TASKS = int(os.environ.get("CHAOS_TASKS", "10000"))  # fewer for a busy machine
POWER_CUTS_S = max(20.0, SECONDS / 5)
PUBLISHERS = ("ann", "bob", "eve") if CLUSTER else ("task",)  # one that waits for a new leader publishes little
LAST_WITHIN = 300.0  # seconds after the last fault

pytestmark = [
    pytest.mark.timeout(SECONDS + MOST_PATIENT * LAST_WITHIN + 180),
    pytest.mark.xdist_group("recovery"),
    # nats-py never closes the socket of a failed reconnect
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Servers(NamedTuple):
    """The URLs of the servers, and the weighted faults to inject concurrently into them and the workers."""

    nats_url: str
    redis_url: str
    replicas: int
    faults: Callable[[WorkerGroup], Sequence[Mapping[FaultInjector, float]]]


@asynccontextmanager
async def one_of_each(folder: Path) -> AsyncIterator[Servers]:
    """One NATS and one Valkey: one worker at a time is killed or frozen, or one server killed."""
    async with nats_server_in(folder / "nats") as nats_server, valkey_in(folder / "valkey") as valkey:
        killing = partial(kill, [nats_server, valkey])
        yield Servers(
            nats_server.url, valkey.url, 1, lambda workers: [{workers.kill: 0.6, workers.freeze: 0.2, killing: 0.2}]
        )


@asynccontextmanager
async def three_nodes(folder: Path) -> AsyncIterator[Servers]:
    """A cluster: workers and nodes are killed or frozen concurrently."""
    async with nats_cluster_in(folder / "nats") as cluster, valkey_in(folder / "valkey") as valkey:
        nodes: dict[FaultInjector, float] = {
            partial(fail_node, cluster, kill): 1,
            partial(fail_node, cluster, freeze): 1,
        }
        yield Servers(cluster.url, valkey.url, 3, lambda workers: [{workers.kill: 1, workers.freeze: 2}, nodes])


@asynccontextmanager
async def one_disk(folder: Path) -> AsyncIterator[Servers]:
    """One NATS with a disk of its own, whose power is cut, and one Valkey."""
    async with nats_on_its_own_disk(folder / "nats") as (nats_server, disk), valkey_in(folder / "valkey") as valkey:
        yield Servers(nats_server.url, valkey.url, 1, lambda _: [{partial(cut_power, nats_server, disk): 1}])


async def fail_node(cluster: NatsCluster, inject: ServerFault, chance: Random) -> Fault:
    """Inject a fault into one node, and wait until the cluster is complete again."""
    fault = await inject(cluster.nodes, chance)
    await cluster.becomes_whole()
    return fault


@pytest.mark.parametrize(
    ("servers_in", "seconds"),
    [(three_nodes, SECONDS)] if CLUSTER else [(one_of_each, SECONDS), (one_disk, POWER_CUTS_S)],
)
async def test_nothing_is_lost_and_nothing_is_done_twice(
    tmp_path: Path, servers_in: Callable[[Path], AbstractAsyncContextManager[Servers]], seconds: float
) -> None:
    tasks = min(max(60, int(seconds * 0.6)), MOST_TASKS)
    print(f"CHAOS_SEED={SEED} CHAOS_SECONDS={SECONDS:g} {servers_in.__name__}, logs in {tmp_path}")
    async with AsyncExitStack() as closing:
        # Given two workers, and servers that keep their data
        servers = await closing.enter_async_context(servers_in(tmp_path))
        settings = Settings(
            _env_file=None,
            nats_url=servers.nats_url,
            nats_replicas=servers.replicas,
            redis_url=servers.redis_url,
            task_max_retries=100,  # a live task is lost with each worker that has it
            task_retry_delay=1,
            cache_ttl=0,
        )
        workers = await closing.enter_async_context(WorkerGroup(settings, tmp_path).alive())
        client = await closing.enter_async_context(await connected(settings))
        granted = await closing.enter_async_context(observed_grants(settings))
        # When tasks and live audio are published during faults of workers and servers
        async with asyncio.TaskGroup() as group:
            publishing = [
                group.create_task(
                    publish(client, name, chance(name), tasks // len(PUBLISHERS), seconds, in_time=CLUSTER)
                )
                for name in PUBLISHERS
            ]
            speaking = group.create_task(speak(settings, chance("speakers"), tasks // 4, seconds))
            injecting = [
                group.create_task(inject_faults(injectors, chance(f"blows {number}"), seconds))
                for number, injectors in enumerate(servers.faults(workers))
            ]
        published = {task_id: audio for publisher in publishing for task_id, audio in publisher.result().items()}
        in_order = [list(publisher.result()) for publisher in publishing]
        speeches = speaking.result()
        published |= {task_id: speech.seconds for task_id, speech in speeches.items()}
        faults = [fault for task in injecting for fault in task.result()]
        logs = await logs_of(client, published, within=patiently(LAST_WITHIN))
        await eventually(workers.is_complete)
        unreadable = await unreadable_results(client, published)
        misheard = await transcription_errors(client, speeches)
        results, sequences = await count_results(settings), await sequences_of(settings, published)
        verdict = Verdict(
            published, in_order, faults, logs, sequences, list(granted), results, unreadable, len(speeches), misheard
        )
    # Then each task has ended once with one readable result, none has overtaken another of its user, and each spoken
    # word is transcribed once
    verdict.write(tmp_path / "verdict.jsonl")
    print(verdict.report())
    assert verdict.wrong_ends() == {}
    assert verdict.results == Counter(dict.fromkeys(published, 1))
    assert verdict.unreadable == {}
    assert verdict.holes() == {}
    assert {task_id: start for task_id, start in verdict.starts().items() if start < 0} == {}
    assert verdict.overtaken() == {}
    assert verdict.granted_late() == {}
    assert len(granted) > len(sequences) / 2  # otherwise the order of the others is unknown
    assert verdict.misheard == {}


def chance(of: str) -> Random:
    """Return a random generator that depends only on the seed, not on the order of calls."""
    return Random(f"{SEED} {of}")  # noqa: S311


async def count_results(settings: Settings) -> Counter[str]:
    nc = await nats.connect(settings.nats_servers)
    info = await nc.jetstream().stream_info("transcription_results", subjects_filter="results.*")
    await nc.close()
    return Counter({subject.partition(".")[2]: count for subject, count in (info.state.subjects or {}).items()})
