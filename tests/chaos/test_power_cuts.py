"""A power cut loses what nats-server has acknowledged without a sync, and nothing that it has synced."""

from pathlib import Path
from random import Random

import nats
import pytest
from nats.js.api import StreamConfig

from tests.chaos.disk import cut_power, nats_on_its_own_disk

MESSAGES = 100


@pytest.mark.parametrize(("sync_interval", "loses"), [("always", False), ("2m", True)])
async def test_a_power_cut_loses_only_what_was_not_synced(tmp_path: Path, sync_interval: str, loses: bool) -> None:
    async with nats_on_its_own_disk(tmp_path, sync_interval=sync_interval) as (server, disk):
        # Given messages that the server has acknowledged
        async with await nats.connect(server.url) as client:
            js = client.jetstream()
            await js.add_stream(StreamConfig(name="tasks", subjects=["tasks"]))
            for number in range(MESSAGES):
                await js.publish("tasks", b"%d" % number)
        # When the power is cut, then those are lost that were not synced
        await cut_power(server, disk, Random(0))  # noqa: S311 -- no secret
        async with await nats.connect(server.url) as client:
            streams = await client.jetstream().streams_info()
            assert (sum(stream.state.messages for stream in streams) < MESSAGES) is loses
