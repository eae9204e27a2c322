"""The data of a single server moves to a cluster by the requests that `nats stream backup` and `restore` send."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from natscribe.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import SegmentsEvent
from natscribe.schemas.wire import Priority

from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.operations.test_backup import DIED, RECORDING, end_of
from tests.nats_cluster import NatsCluster
from tests.servers import nats_server_in, valkey_in
from tests.waiting import eventually
from tests.workers import working

CHUNK_BYTES = 128 * 1024
ANSWERS_WITHIN_S = 10.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Backup:
    """A stream and its consumers as the server has written them."""

    config: Json
    state: Json
    chunks: list[bytes]


async def request(nc: Nats, subject: str, question: Json) -> Json:
    reply: Json = json.loads((await nc.request(subject, json.dumps(question).encode(), ANSWERS_WITHIN_S)).data)
    assert "error" not in reply, reply
    return reply


async def backup(nc: Nats, stream: str) -> Backup:
    inbox = await nc.subscribe(nc.new_inbox())
    question = {"deliver_subject": inbox.subject, "chunk_size": CHUNK_BYTES}
    reply = await request(nc, f"$JS.API.STREAM.SNAPSHOT.{stream}", question)
    chunks = list[bytes]()
    while (chunk := await inbox.next_msg(ANSWERS_WITHIN_S)).data:
        chunks.append(chunk.data)
        if chunk.reply:  # the server waits for the reply, so that it is not too far ahead
            await chunk.respond(b"")
    await inbox.unsubscribe()
    return Backup(reply["config"], reply["state"], chunks)


async def restore(nc: Nats, stream: Backup, *, replicas: int) -> None:
    config = stream.config | {"num_replicas": replicas}
    reply = await request(nc, f"$JS.API.STREAM.RESTORE.{config['name']}", {"config": config, "state": stream.state})

    async def sent(chunk: bytes) -> Msg | None:
        try:
            return await nc.request(reply["deliver_subject"], chunk, ANSWERS_WITHIN_S)
        except NoRespondersError:  # this node does not know of the subscription at another node yet
            return None

    for chunk in stream.chunks:
        await eventually(partial(sent, chunk))
    restored = json.loads((await eventually(partial(sent, b""))).data)
    assert "error" not in restored, restored
    assert restored["state"]["messages"] == stream.state["messages"]


async def test_a_backup_of_a_single_server_goes_on_in_a_cluster(
    cluster: NatsCluster, settings: Settings, tmp_path: Path
) -> None:
    # Given a single server with a task that is done, one that has failed, one at its third window, and one that waits
    engine = FakeEngine(windows=4)
    async with nats_server_in(tmp_path / "alone/nats") as server, valkey_in(tmp_path / "alone/valkey") as valkey:
        alone = settings.model_copy(
            update={"nats_url": server.url, "redis_url": valkey.url, "nats_replicas": 1, "task_grace": 0.1}
        )
        async with Client(alone) as client:
            async with working(alone, engine):
                done = await client.create_transcription_task(RECORDING)
                assert (await end_of(client, done)).state is State.COMPLETED
                engine.fail_with = [DIED]
                failed = await client.create_transcription_task(RECORDING)
                assert (await end_of(client, failed)).state is State.FAILED
                engine.hangs_after = [2]
                half_done = await client.create_transcription_task(RECORDING, priority=Priority.HIGH)
                async for event in client.follow(half_done):
                    if isinstance(event, SegmentsEvent):
                        break
                waiting = await client.create_transcription_task(RECORDING, priority=Priority.LOW)
                text = await client.get_task_result(done)
        # When its workers are stopped, and each of its streams is moved to the cluster
        async with await nats.connect(alone.nats_url) as nc:
            streams = [str(info.config.name) for info in await nc.jetstream().streams_info()]
            backups = [await backup(nc, stream) for stream in streams]
    async with await nats.connect(cluster.url.split(",")) as nc:
        for stream in backups:
            await restore(nc, stream, replicas=3)
        assert {info.config.num_replicas for info in await nc.jetstream().streams_info()} == {3}
    # Then a worker of the cluster finishes what was half done and what waited, and what had ended is there
    async with working(settings, FakeEngine(windows=4)), Client(settings) as client:
        assert (await end_of(client, half_done)).state is State.COMPLETED
        assert (await end_of(client, waiting)).state is State.COMPLETED
        assert await client.get_task_result(done) == text
        assert [letter.task_id async for letter in client.dead_letters()] == [failed]
