"""Idle workers keep a pull open at each task queue: that costs little, and no message is late or lost."""

import asyncio

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority

from app.container import live_tasks_at_once
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream.slots import SlotPool
from app.storage.jetstream.streams import consumer_configs
from app.tasks.queue.task_slots import PULL_TIMEOUT_S
from tests.consumers import KEYS, fleet
from tests.servers import NatsServer, Servers
from tests.waiting import eventually

ACK_WAIT_S = 60  # a message that no worker receives is delivered again after this time
ON_TIME_S = 30
PASSED_S = 12
PRIORITIES = [str(priority) for priority in Priority]


@pytest.fixture
def patient(settings: Settings) -> Settings:
    return settings.model_copy(update={"task_ack_wait": ACK_WAIT_S})


async def test_an_idle_worker_has_a_pull_open_for_each_slot_and_seldom_sends_another(
    worker: Worker, nc: Client, js: JetStreamContext
) -> None:
    # Given an idle worker, which has an open pull for each slot, and one at each other consumer
    consumers = list(consumer_configs(worker.settings))
    live_tasks = live_tasks_at_once(worker.settings.live_streams)

    async def is_idle() -> bool:
        infos = [await js.consumer_info(stream, str(config.durable_name)) for stream, config in consumers]
        live = worker.settings.stream_names.slot_consumer(SlotPool.LIVE)
        return all(info.num_waiting == (live_tasks if info.name == live else 1) for info in infos)

    await eventually(is_idle)
    # When some seconds pass
    subscription = await nc.subscribe("$JS.API.CONSUMER.MSG.NEXT.>")
    await asyncio.sleep(PASSED_S)
    # Then the worker has sent few further pulls, those that all slots send together aside
    assert subscription.pending_msgs <= PASSED_S / PULL_TIMEOUT_S[SlotPool.RECORDINGS] + 1 + live_tasks


async def test_each_of_many_messages_is_handled_once_and_on_time(
    patient: Settings, servers: Servers, nc: Client
) -> None:
    # Given 50 idle consumers
    async with fleet(patient, nc, [servers.nats_url], 50) as consumers:
        # When 500 messages arrive at once
        bodies = [str(number) for number in range(500)]
        for number, body in enumerate(bodies):
            await nc.publish(subjects.tasks(*KEYS[number % len(KEYS)]), body.encode())
        # Then each is handled once, and none waits for TASK_ACK_WAIT
        await consumers.handles_once(bodies, within=ON_TIME_S)


async def test_of_messages_that_arrive_together_the_urgent_ones_are_handled_first(
    patient: Settings, servers: Servers, nc: Client
) -> None:
    async with fleet(patient, nc, [servers.nats_url], 1) as consumers:
        # When messages arrive together in all queues of an idle consumer, the most urgent last
        bodies = [subjects.tasks(*key) for key in reversed(KEYS)]
        for subject in bodies:
            await nc.publish(subject, subject.encode())
        await consumers.handles_once(bodies, within=ON_TIME_S)
    # Then all are handled in the order of priorities, except that the first may have arrived a moment earlier
    _, *others = [subject.rpartition(".")[2] for subject, _ in consumers.handled]
    assert others == sorted(others, key=PRIORITIES.index)


async def test_stopped_consumers_keep_no_message(patient: Settings, servers: Servers, nc: Client) -> None:
    # Given idle consumers, and messages that keep arriving
    async with fleet(patient, nc, [servers.nats_url], 12) as consumers:
        bodies: list[str] = []

        async def publish() -> None:
            while len(consumers.consumers) > 1:
                bodies.append(str(len(bodies)))
                await nc.publish(subjects.tasks(*KEYS[len(bodies) % len(KEYS)]), bodies[-1].encode())
                await asyncio.sleep(0.002)

        publishing = asyncio.create_task(publish())
        # When all but one stop
        while len(consumers.consumers) > 1:
            await consumers.stop_one()
        await publishing
        # Then each message is handled once and on time
        await consumers.handles_once(bodies, within=ON_TIME_S)


async def test_pulls_are_reopened_when_nats_restarts(patient: Settings, nats_server: NatsServer) -> None:
    # Given an idle consumer
    client = await nats.connect(nats_server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    async with fleet(patient, client, [nats_server.url], 1) as consumers:
        # When NATS restarts
        await nats_server.kill()
        await nats_server.start()
        # Then the consumer handles messages of all queues sooner than missing heartbeats would be noticed
        await eventually(lambda: client.is_connected)
        bodies = [subjects.tasks(*key) for key in KEYS]
        for subject in bodies:
            await client.jetstream().publish(subject, subject.encode(), timeout=10)
        await consumers.handles_once(bodies, within=10)
    await client.close()
