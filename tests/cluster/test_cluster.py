"""Three NATS servers at three replicas: each acknowledged task ends once, whatever happens to one of the servers."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from natscribe.schemas.progress import ProgressEvent, State

from app.settings import Settings
from tests.cluster.conftest import Publisher, SteadyEngine, workers
from tests.nats_cluster import NatsCluster, Node
from tests.waiting import eventually

PROGRESS = "transcription_progress"
MOST_LOST = timedelta(seconds=10)  # that a killed leader may cost a running task
FROZEN_FOR = 20.0  # seconds
WITHOUT_QUORUM = 30.0  # seconds
LIMP = 0.3  # seconds stopped, and seconds continued
LOADED_TASKS = int(os.environ.get("CLUSTER_TASKS", "0"))
LOAD = 2  # processes that do nothing but take processor time

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("recovery")]


async def publish_all(publisher: Publisher, count: int, *, every: float) -> None:
    for number in range(count):
        await publisher.publish(f"task-{number}")
        await asyncio.sleep(every)


def longest_silence(logs: Iterable[list[ProgressEvent]], *, after: datetime) -> timedelta:
    """The longest time between two events of a running task, of which the second came after this time."""
    return max(
        later.time - earlier.time
        for log in logs
        for earlier, later in pairwise(log)
        if earlier.state is State.RUNNING and later.time >= after
    )


@pytest.mark.parametrize("stream", [PROGRESS, "transcription_tasks"])
async def test_a_killed_leader_costs_ten_seconds_and_no_attempt(
    cluster: NatsCluster, settings: Settings, publisher: Publisher, stream: str
) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(windows=36, pace=0.5)):
        # Given a task in the middle of its recording
        await publisher.upload()
        await publisher.publish("t1")
        await eventually(lambda: publisher.runs("t1"))
        # When the node is killed that leads a stream
        leader = await cluster.leader_of(stream)
        killed_at = datetime.now(UTC)
        await leader.kill()
        ended = await publisher.ended()
    # Then the task goes on soon, in the same attempt
    ended.check(["t1"])
    silence = longest_silence(ended.logs.values(), after=killed_at)
    print(f"{stream}: silent for {silence.total_seconds():.1f} s")
    assert silence <= MOST_LOST
    assert ended.tried_again == {}


async def test_a_task_that_starts_while_its_recording_has_no_leader(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    async with workers(settings, 2, SteadyEngine):
        await publisher.upload()
        # Given a bucket whose leader was killed a moment ago
        await (await cluster.leader_of("OBJ_audio")).kill()
        # When tasks start
        for number in range(3):
            await publisher.publish(f"task-{number}")
        ended = await publisher.ended()
    # Then they wait for their recordings, and no attempt is lost
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


@pytest.mark.parametrize("connected", [True, False])
async def test_a_frozen_node(cluster: NatsCluster, settings: Settings, publisher: Publisher, connected: bool) -> None:
    async with workers(settings, 1, SteadyEngine):
        await publisher.upload()
    leader = await cluster.leader_of(PROGRESS)
    follower, *_ = await cluster.followers_of(PROGRESS)
    # Given workers that are connected to the leader of the logs, or to another node, and are busy
    settings.nats_url = (leader if connected else follower).url
    async with workers(settings, 2, lambda: SteadyEngine(windows=4, pace=0.2)):
        publishing = asyncio.create_task(publish_all(publisher, 40, every=0.5))
        await eventually(lambda: publisher.started("task-3"))
        # When the leader freezes for a while
        leader.pause()
        frozen_at = datetime.now(UTC)
        await asyncio.sleep(FROZEN_FOR)
        leader.resume()
        # Then no task is lost, and none needs a second attempt
        await publishing
        ended = await publisher.ended()
    ended.check(publisher.acknowledged)
    silence = longest_silence(ended.logs.values(), after=frozen_at)
    print(f"connected {connected}: silent for {silence.total_seconds():.1f} s")
    assert ended.tried_again == {}


async def limp(node: Node) -> None:
    """Stop and continue a node, until cancelled."""
    try:
        while True:
            node.pause()
            await asyncio.sleep(LIMP)
            node.resume()
            await asyncio.sleep(LIMP)
    finally:
        node.resume()


async def test_a_follower_that_limps(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, SteadyEngine):
        await publisher.upload()
        # Given a node that lags behind the leader of the logs
        follower, *_ = await cluster.followers_of(PROGRESS)
        limping = asyncio.create_task(limp(follower))
        try:
            # When 120 tasks are published
            await publish_all(publisher, 120, every=0.1)
            ended = await publisher.ended()
        finally:
            limping.cancel()
    # Then each is done once
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


async def test_a_node_whose_disk_was_wiped(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(windows=4, pace=0.2)):
        await publisher.upload()
        publishing = asyncio.create_task(publish_all(publisher, 30, every=0.3))
        await eventually(lambda: publisher.started("task-3"))
        # Given a node that lost its disk while tasks run, and has a new one
        wiped = await cluster.leader_of(PROGRESS)
        await wiped.wipe()
        await wiped.start()
        await publishing
        (await publisher.ended()).check(publisher.acknowledged)
        await cluster.becomes_whole()
        # When another node is lost, so that the new disk is needed
        other = next(node for node in cluster.nodes if node is not wiped)
        await other.kill()
        await publisher.publish("afterwards")
        ended = await publisher.ended()
    # Then nothing is missing on it
    ended.check(publisher.acknowledged)


async def test_a_rolling_restart(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(windows=4, pace=0.2)):
        await publisher.upload()
        publishing = asyncio.create_task(publish_all(publisher, 60, every=0.5))
        await eventually(lambda: publisher.started("task-3"))
        # When one node after the other is restarted while tasks run
        for node in cluster.nodes:
            await node.stop()
            await node.start()
            await cluster.becomes_whole()
        await publishing
        ended = await publisher.ended()
    # Then each task is done once
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


async def test_a_majority_that_is_lost_and_comes_back(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(windows=20, pace=0.3)):
        await publisher.upload()
        for number in range(6):
            await publisher.publish(f"task-{number}")
        await eventually(lambda: publisher.runs("task-0"))
        # When two of the three nodes are away for a while
        lost = cluster.nodes[:2]
        await asyncio.gather(*(node.kill() for node in lost))
        await asyncio.sleep(WITHOUT_QUORUM)
        await asyncio.gather(*(node.start() for node in lost))
        ended = await publisher.ended()
    # Then all goes on
    ended.check(publisher.acknowledged)
    print(f"tried again: {ended.tried_again}")


@pytest.mark.skipif(not LOADED_TASKS, reason="takes minutes: make test-cluster")
@pytest.mark.timeout(1200)
async def test_many_tasks_on_busy_machines(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 3, SteadyEngine), processor_load():
        await publisher.upload()
        # When many short tasks are published while other processes take the processors
        began = time.monotonic()
        for first in range(0, LOADED_TASKS, 20):
            ids = [f"task-{number}" for number in range(first, min(first + 20, LOADED_TASKS))]
            await asyncio.gather(*map(publisher.publish, ids))
            await eventually(lambda: results_are(publisher, len(publisher.acknowledged) - 60), within=120)
        ended = await publisher.ended()
    # Then none is lost, and none needs a second attempt
    print(f"{LOADED_TASKS} tasks in {time.monotonic() - began:.0f} s, tried again: {ended.tried_again}")
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


async def results_are(publisher: Publisher, count: int) -> bool:
    return (await publisher.js.stream_info("transcription_results")).state.messages >= count


@asynccontextmanager
async def processor_load() -> AsyncIterator[None]:
    """Processes that take processor time until the body ends."""
    busy = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(LOAD)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            await process.wait()
