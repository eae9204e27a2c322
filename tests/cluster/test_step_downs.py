"""Requests while the leaders of the streams step down: each has its effect, or an error that says to repeat it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from nats.aio.client import Client as Nats
from nats.errors import Error as NatsError
from natscribe.schemas import subjects

from app.settings import Settings
from tests.cluster.conftest import Publisher, SteadyEngine, workers
from tests.nats_cluster import NatsCluster
from tests.waiting import eventually

CANCELLED, DELETED = 42, 41
STREAMS = ("transcription_tasks", "transcription_progress", "transcription_results", "transcription_segments")

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("recovery")]


async def request(nc: Nats, subject: str, task_id: str) -> dict[str, Any]:
    """The reply to a request about a task, sent again as the contract says: after no reply, and after `internal`."""
    body = json.dumps({"task_id": task_id}).encode()
    async with asyncio.timeout(120):
        while True:
            with suppress(NatsError):
                reply: dict[str, Any] = json.loads((await nc.request(subject, body, timeout=5)).data)
                if (reply.get("error") or {}).get("code") != "internal":
                    return reply
            await asyncio.sleep(0.2)


@asynccontextmanager
async def leaders_step_down(nc: Nats) -> AsyncIterator[None]:
    """Have the leader of one stream after the other step down, until the block ends."""

    async def step_down() -> None:
        while True:
            for stream in STREAMS:
                with suppress(NatsError):
                    await nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", timeout=2)
                await asyncio.sleep(0.2)

    stepping = asyncio.create_task(step_down())
    yield
    stepping.cancel()
    await asyncio.gather(stepping, return_exceptions=True)


async def test_cancels_and_deletes_hold_while_leaders_step_down(
    cluster: NatsCluster, settings: Settings, publisher: Publisher, nc: Nats
) -> None:
    # Given tasks that wait and run
    cancelled, deleted = [f"c{number}" for number in range(CANCELLED)], [f"d{number}" for number in range(DELETED)]
    async with workers(settings, 2, lambda: SteadyEngine(windows=20, pace=0.1)):
        await publisher.upload()
        for task_id in (*cancelled, *deleted):
            await publisher.publish(task_id)
        # When each is cancelled or deleted while leaders step down
        async with leaders_step_down(nc):
            replies = await asyncio.gather(
                *(request(nc, subjects.CANCEL, task_id) for task_id in cancelled),
                *(request(nc, subjects.DELETE, task_id) for task_id in deleted),
            )

        async def left() -> bool:
            """Whether the queue is empty, and only logs of cancelled tasks are left."""
            waiting = (await nc.jetstream().stream_info("transcription_tasks")).state.messages
            logs = (await nc.jetstream().stream_info("transcription_progress", subjects_filter=">")).state.subjects
            return not waiting and set(logs or {}) == {subjects.progress(task_id) for task_id in cancelled}

        # Then each cancelled task has ended as its reply says, and nothing is left of the others
        await eventually(left, within=60)
        for task_id, reply in zip(cancelled, replies, strict=False):
            status = await request(nc, subjects.STATUS, task_id)
            assert (status["state"], status["state"] in {"cancelled", "completed"}) == (reply["state"], True)
        # And a delete that was sent again may find that the first one had its effect
        codes = {(reply.get("error") or {}).get("code") for reply in replies[CANCELLED:]}
        assert codes <= {None, "not_found"}
