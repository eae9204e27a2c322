"""Three NATS servers at three replicas: each acknowledged task ends once, whatever happens to one of the servers."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from natscribe.schemas.progress import ProgressEvent, State

from app.settings import Settings
from tests.cluster.conftest import Publisher, SteadyEngine, workers
from tests.nats_cluster import NatsCluster
from tests.waiting import eventually

PROGRESS = "transcription_progress"
MAX_SILENCE = timedelta(seconds=10)  # that a killed leader may cost a running task
FROZEN_FOR = 20.0  # seconds
WITHOUT_QUORUM = 30.0  # seconds
LIMP, LIMPS = 0.3, 20  # seconds stopped and seconds running, and how often

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("recovery")]


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
    # Then the task continues soon, in the same attempt
    ended.check(["t1"])
    silence = longest_silence(ended.logs.values(), after=killed_at)
    print(f"{stream}: silent for {silence.total_seconds():.1f} s")
    assert silence <= MAX_SILENCE
    assert ended.tried_again == {}


async def test_a_task_that_starts_while_its_recording_has_no_leader(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    async with workers(settings, 2, SteadyEngine):
        await publisher.upload()
        # Given a bucket whose leader was killed a moment ago
        await (await cluster.leader_of("OBJ_audio")).kill()
        # When tasks start
        await publisher.publish_all(3)
        ended = await publisher.ended()
    # Then they wait for their recordings, and no attempt is lost
    ended.check(publisher.acknowledged)
    assert ended.tried_again == {}


@asynccontextmanager
async def tasks_published(
    settings: Settings, publisher: Publisher, count: int, *, every: float, retries: bool = False
) -> AsyncIterator[None]:
    """Publish tasks while the body hurts the cluster, and check that each ends once, at its first attempt or not."""
    async with workers(settings, 2, lambda: SteadyEngine(windows=4, pace=0.2)):
        await publisher.upload()
        publishing = asyncio.create_task(publisher.publish_all(count, every=every))
        await eventually(lambda: publisher.started("task-3"))
        yield
        await publishing
        ended = await publisher.ended()
    ended.check(publisher.acknowledged)
    assert retries or ended.tried_again == {}


# What nats-py leaves of a connection to a server that no longer replies.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("connected", [True, False])
async def test_a_frozen_node(cluster: NatsCluster, settings: Settings, publisher: Publisher, connected: bool) -> None:
    async with workers(settings, 1, SteadyEngine):
        await publisher.upload()
    leader = await cluster.leader_of(PROGRESS)
    follower, *_ = await cluster.followers_of(PROGRESS)
    # Given workers that are connected to the leader of the logs, or to another node, and are busy
    settings.nats_url = (leader if connected else follower).url
    async with tasks_published(settings, publisher, 40, every=0.5):
        # When the leader freezes for a while, then no task is lost, and none needs a second attempt
        leader.pause()
        await asyncio.sleep(FROZEN_FOR)
        leader.resume()


async def test_a_follower_that_limps(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    # Given 120 tasks, when a node lags behind the leader of the logs, then each task is done once
    async with tasks_published(settings, publisher, 120, every=0.1):
        follower, *_ = await cluster.followers_of(PROGRESS)
        for _ in range(LIMPS):
            follower.pause()
            await asyncio.sleep(LIMP)
            follower.resume()
            await asyncio.sleep(LIMP)


async def test_a_node_whose_disk_was_wiped(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    # Given a node that lost its disk while tasks run, and has a new one
    async with tasks_published(settings, publisher, 30, every=0.3, retries=True):
        wiped = await cluster.leader_of(PROGRESS)
        await wiped.wipe()
        await wiped.start()
    await cluster.becomes_whole()
    # When another node is lost, so that the new disk is needed
    await next(node for node in cluster.nodes if node is not wiped).kill()
    async with workers(settings, 1, SteadyEngine):
        await publisher.publish("afterwards")
        # Then nothing is missing on it
        (await publisher.ended()).check(publisher.acknowledged)


async def test_a_rolling_restart(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    # When one node after the other is restarted while tasks run, then each task is done once
    async with tasks_published(settings, publisher, 60, every=0.5):
        for node in cluster.nodes:
            await node.stop()
            await node.start()
            await cluster.becomes_whole()


async def test_a_majority_that_is_lost_and_comes_back(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    async with workers(settings, 2, lambda: SteadyEngine(windows=20, pace=0.3)):
        await publisher.upload()
        await publisher.publish_all(6)
        await eventually(lambda: publisher.runs("task-0"))
        # When two of the three nodes are stopped for a while
        lost = cluster.nodes[:2]
        await asyncio.gather(*(node.kill() for node in lost))
        await asyncio.sleep(WITHOUT_QUORUM)
        await asyncio.gather(*(node.start() for node in lost))
        ended = await publisher.ended()
    # Then all continues
    ended.check(publisher.acknowledged)
    print(f"tried again: {ended.tried_again}")
