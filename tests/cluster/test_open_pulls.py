"""Idle task consumers on three NATS servers: no message is late, whichever server leads the queues."""

from functools import partial

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import retry_until_reply
from natscribe.schemas import subjects

from app.fleet.stream_guard.provisioning import provision
from app.settings import Settings
from app.storage.jetstream.slots import SlotPool
from tests.consumers import KEYS, Fleet, fleet
from tests.nats_cluster import NatsCluster
from tests.waiting import eventually

ACK_WAIT_S = 120  # a message that no worker receives is delivered again after this time
ON_TIME_S = 60
SOON_S = 15  # sooner than missing heartbeats are noticed, also on a busy machine

pytestmark = [pytest.mark.timeout(300), pytest.mark.xdist_group("recovery")]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_ack_wait": ACK_WAIT_S})


async def publish_in_all_queues(consumers: Fleet, prefix: str) -> list[str]:
    """Publish a message in each queue, and return the bodies."""
    bodies = [f"{prefix} {subjects.tasks(*key)}" for key in KEYS]
    for key, body in zip(KEYS, bodies, strict=True):
        await retry_until_reply(partial(consumers.nc.jetstream().publish, subjects.tasks(*key), body.encode()))
    return bodies


async def test_each_message_is_handled_once_and_soon(cluster: NatsCluster, settings: Settings, nc: Client) -> None:
    # Given idle consumers on all servers
    async with fleet(settings, nc, [node.url for node in cluster.nodes], 50) as consumers:
        # When many messages arrive at once
        bodies = [str(number) for number in range(500)]
        for number, body in enumerate(bodies):
            await nc.publish(subjects.tasks(*KEYS[number % len(KEYS)]), body.encode())
        # Then each is handled once, and none waits for TASK_ACK_WAIT
        await consumers.handles_once(bodies, within=ON_TIME_S)
        # When the leader of the idle consumer steps down
        await consumers.become_idle()
        ready = f"{consumers.names.ready}.{consumers.names.slot_consumer(SlotPool.RECORDINGS)}"
        await nc.request(f"$JS.API.CONSUMER.LEADER.STEPDOWN.{ready}", timeout=10)
        # Then messages are handled soon
        bodies += await publish_in_all_queues(consumers, "after")
        await consumers.handles_once(bodies, within=SOON_S)


async def test_messages_are_handled_soon_after_the_death_of_a_server(
    cluster: NatsCluster, settings: Settings, nc: Client
) -> None:
    # Given idle consumers on the server that survives
    await provision(nc.jetstream(), settings)
    leader = await cluster.leader_of(settings.stream_names.tasks)
    survivor = next(node for node in cluster.nodes if node is not leader)
    async with fleet(settings, nc, [survivor.url], 3) as consumers:
        # When the leader of the task stream dies, which may lead the consumer, too
        await leader.kill()

        async def has_leader() -> bool:
            js, names = nc.jetstream(), consumers.names
            try:
                return bool(await js.consumer_info(names.ready, names.slot_consumer(SlotPool.RECORDINGS)))
            except NatsError:
                return False

        # Then messages are handled as soon as the consumer has a leader again
        bodies = await publish_in_all_queues(consumers, "after")
        await eventually(has_leader)
        await consumers.handles_once(bodies, within=SOON_S)
