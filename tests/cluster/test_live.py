"""Live audio in a cluster: each second is transcribed once, whatever happens to one of the servers."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.transcription import TranscriptionResult

from app.settings import Settings
from tests.cluster.conftest import Publisher, workers
from tests.fakes.echo import AUDIO, EchoEngine, said, seconds
from tests.live_client import LiveClient
from tests.nats_cluster import NatsCluster, Node
from tests.waiting import eventually

LIVE, TASKS, SEGMENTS = "transcription_live", "transcription_tasks", "transcription_segments"
ALL = list(range(1, 61))  # the spoken text: a number each second, in six utterances
BEFORE = 25  # seconds that are sent before the blow
FROZEN_FOR_S = 20.0
Blow = Callable[[Node], Coroutine[Any, Any, None]]

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("recovery")]


async def result_of(publisher: Publisher) -> TranscriptionResult | None:
    """The result of the live task; None while there is none, or no leader."""
    try:
        stored = await publisher.js.get_last_msg("transcription_results", subjects.results("live-1"))
    except NatsError:
        return None
    return TranscriptionResult.model_validate_json(stored.data or b"")


async def is_whole(publisher: Publisher) -> None:
    """The task has ended once, and all speech is transcribed once."""
    publisher.acknowledged = ["live-1"]
    (await publisher.ended()).check(["live-1"])
    result = await eventually(partial(result_of, publisher))
    assert said(result.text) == ALL
    assert (result.duration, result.untranscribed) == (len(ALL), [])


async def kill(node: Node) -> None:
    await node.kill()


async def freeze(node: Node) -> None:
    node.pause()
    await asyncio.sleep(FROZEN_FOR_S)
    node.resume()


async def restart(node: Node) -> None:
    await node.stop()
    await node.start()


@pytest.mark.parametrize(
    ("blow", "stream"), [(kill, LIVE), (kill, TASKS), (kill, SEGMENTS), (freeze, LIVE), (restart, LIVE)]
)
async def test_a_stopped_leader_costs_no_audio(
    cluster: NatsCluster, settings: Settings, nc: Client, publisher: Publisher, blow: Blow, stream: str
) -> None:
    async with workers(settings, 2, EchoEngine):
        # Given live audio
        client = LiveClient(nc, "live-1", seconds(ALL), AUDIO)
        await client.begin(idle_seconds=120)
        await client.send(0, BEFORE)
        await eventually(lambda: publisher.runs("live-1"))
        # When the node that leads a stream is stopped, and more audio is sent
        hurting = asyncio.create_task(blow(await cluster.leader_of(stream)))
        await client.send(BEFORE)
        await hurting
        # Then the text is whole
        await is_whole(publisher)
