"""A worker starts on three NATS servers; quick enough for each run of all tests."""

import asyncio
import json
import sys
from collections import Counter
from functools import partial
from typing import Any

import nats
import pytest
from nats.js.errors import BadRequestError

from app.main import Worker
from app.settings import Settings
from app.storage.jetstream import streams
from app.storage.jetstream.connection import RETRY_EVERY_S
from app.storage.recordings.stores import make_recording_store
from tests.cluster.conftest import CONTENT, RECORDING, Publisher, SteadyEngine, workers
from tests.constants import Constants
from tests.nats_cluster import NatsCluster
from tests.waiting import eventually

PROGRESS = "transcription_progress"
MANY = 60  # tasks at once

pytestmark = pytest.mark.xdist_group("recovery")


async def test_a_task_runs_with_three_replicas(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    # Given a worker on a cluster
    async with workers(settings, 1, SteadyEngine):
        # Then streams, consumers and buckets have three replicas, and the service finds nothing to say about that
        for config in streams.stream_configs(settings):
            info = await publisher.js.stream_info(str(config.name))
            assert info.config.num_replicas == 3
        for stream, consumer in streams.consumer_configs(settings):
            consumer_info = await publisher.js.consumer_info(stream, str(consumer.durable_name))
            assert consumer_info.cluster is not None
            assert len(consumer_info.cluster.replicas or []) == 2
        for bucket in streams.bucket_configs(settings):
            assert (await (await publisher.js.object_store(str(bucket.bucket))).status()).replicas == 3
        # And of two appends behind the same record one is refused
        expected = {"Nats-Expected-Last-Subject-Sequence": "0"}
        appends = [
            publisher.js.publish("append.progress.nobody", b"{}", stream=PROGRESS, headers=expected) for _ in range(2)
        ]
        refused = [error for error in await asyncio.gather(*appends, return_exceptions=True) if error.__class__]
        assert [error for error in refused if isinstance(error, BadRequestError)] != []
        await publisher.js.purge_stream(PROGRESS, subject="progress.nobody")
        # And a task with a recording in the bucket is done in one attempt
        await publisher.upload()
        await publisher.publish("t1")
        ended = await publisher.ended()
    ended.check(["t1"])
    assert ended.tried_again == {}


async def test_recordings_are_read_through_any_server(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    async with workers(settings, 1, SteadyEngine):
        await publisher.upload()
    # Given a connection to a server that does not lead the bucket
    follower, *_ = await cluster.followers_of("OBJ_audio")
    connection = await nats.connect(follower.url)
    recordings = make_recording_store(settings, connection)

    async def read() -> bytes:
        async with recordings.fetch(RECORDING) as recording:
            return recording.path.read_bytes()

    # When a recording is read many times
    # Then it is there each time
    for _ in range(100):
        assert await read() == CONTENT
    await connection.close()


async def test_more_replicas_than_servers_are_refused_with_one_sentence(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, constants: Constants
) -> None:
    # Given a cluster of three, and a setting for five
    constants(NATS_WITHIN_S=5.0)
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)
    settings.nats_replicas = 5
    # When a worker starts
    # Then it says how many servers it needs
    with pytest.raises(ConnectionError, match="start at least 5 servers"):
        async with Worker(settings, SteadyEngine()).app.start_lifespan_context():
            pass


async def test_a_start_waits_for_a_majority(cluster: NatsCluster, settings: Settings, publisher: Publisher) -> None:
    # Given one node of three, which cannot decide anything
    first, *others = cluster.nodes
    await asyncio.gather(*(node.wipe() for node in cluster.nodes))
    await first.start()
    starting = asyncio.create_task(_work_on(settings, publisher))
    # When the others start a while after a worker
    await asyncio.sleep(3 * RETRY_EVERY_S)
    assert not starting.done()
    await asyncio.gather(*(node.start() for node in others))
    # Then the worker has waited for them, and works
    await starting


async def _work_on(settings: Settings, publisher: Publisher) -> None:
    async with workers(settings, 1, SteadyEngine):
        await publisher.upload()
        await publisher.publish("t1")
        (await publisher.ended()).check(["t1"])


async def test_a_task_can_be_cancelled_as_soon_as_it_is_acknowledged(
    cluster: NatsCluster, settings: Settings, publisher: Publisher
) -> None:
    # Given two busy workers on a cluster, of which some servers receive a task later than the leader
    async with workers(settings, 2, lambda: SteadyEngine(pace=60)):
        await publisher.upload()
        for number in range(2):
            await publisher.publish(f"busy-{number}")
            await eventually(partial(publisher.started, f"busy-{number}"))

        async def publish_and_cancel(task_id: str) -> str | None:
            await publisher.publish(task_id)
            request = json.dumps({"task_id": task_id}).encode()
            reply: dict[str, Any] = {"error": {"code": "internal"}}
            while (reply.get("error") or {}).get("code") == "internal":  # as the error says
                reply = json.loads((await publisher.nc.request("tasks.cancel", request, timeout=60)).data)
            return str(reply.get("state", reply))

        # When many are published at once, and each is cancelled right after its acknowledgement
        states = await asyncio.gather(*(publish_and_cancel(f"t{number}") for number in range(MANY)))
        # Then none is unknown
        assert Counter(states) == {"cancelled": MANY}
        for number in range(2):
            await publisher.nc.request("tasks.cancel", json.dumps({"task_id": f"busy-{number}"}).encode(), timeout=60)
