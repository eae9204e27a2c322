"""Nobody but the service changes, removes or reads the consumers of the service, and the service restores them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, ConsumerInfo
from nats.js.errors import NotFoundError

from app.fleet.stream_guard import provisioning
from app.settings import Settings
from app.storage.jetstream.streams import consumer_configs
from tests.access.documented_users import configuration, documented_users
from tests.access.servers import USERS, GuardedNats, GuardedValkey, connected, inbox, service_settings
from tests.fakes.engine import FakeEngine
from tests.servers import in_memory, running_server
from tests.waiting import eventually
from tests.workers import working

CONSUMERS = [(stream, config) for stream, config in consumer_configs(Settings(_env_file=None))]
IDS = [str(config.durable_name) for _, config in CONSUMERS]
PREFIXES = ("$JS.API.", "$JS.ACK.natscribe.")  # the second is what the accounts make of the first
ALMIGHTY = """
      { user: almighty, password: "almighty opens", permissions: {
        publish: { allow: ["$JS.API.>"] }, subscribe: { allow: ["_INBOX_almighty.>"] } } },
"""  # a user that somebody has added to change a stream, and has not removed


@asynccontextmanager
async def server_with_all_users() -> AsyncIterator[GuardedNats]:
    """A server with the users of the documents, and with the almighty one."""
    with in_memory() as folder, pytest.MonkeyPatch.context() as environment:
        deploy = configuration(folder / "deploy", environment, further=ALMIGHTY)
        async with running_server(GuardedNats(folder / "nats", deploy=deploy)) as server:
            yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def guarded() -> AsyncIterator[GuardedNats]:
    """A server with the streams and consumers of the service, and messages in them."""
    async with server_with_all_users() as server:
        async with connected(server, "service") as service:
            js = service.jetstream()
            await provisioning.provision(js, Settings(_env_file=None))
            for number in range(len(CONSUMERS) * 10):
                for log in ("progress", "results"):
                    await js.publish(f"append.{log}.t{number}", b"{}")
                for slots in ("recordings", "live"):
                    await js.publish(f"ready.{slots}.{number}", b"{}")
        yield server


@pytest.fixture
async def service(guarded: GuardedNats) -> AsyncIterator[JetStreamContext]:
    async with connected(guarded, "service") as connection:
        yield connection.jetstream()


async def pulled(js: JetStreamContext, stream: str, name: str) -> list[str]:
    """Pull two messages; return the subjects of their acknowledgements, none if the consumer has no messages."""
    subscription = await js.pull_subscribe_bind(stream=stream, consumer=name)
    try:
        return [message.reply for message in await subscription.fetch(2, timeout=0.5)]
    except TimeoutError:
        return []


async def state(js: JetStreamContext, stream: str, config: ConsumerConfig) -> ConsumerInfo:
    """The state of a consumer, once all that other clients have requested before has had its effect."""
    await js.add_consumer(stream, config)  # changes nothing; JetStream does one such request after the other
    info: ConsumerInfo = await js.consumer_info(stream, str(config.durable_name))
    return info


async def attack(client: Nats, user: str, stream: str, config: ConsumerConfig, acknowledgements: list[str]) -> int:
    """Try to change, pull from, acknowledge for, pause and delete a consumer; return the number of pulled messages."""
    name, pattern = str(config.durable_name), str(config.filter_subject)
    changed = config.evolve(filter_subject=pattern.replace("*", "none"), max_deliver=1)
    bodies = [changed, changed.evolve(name=name), changed.evolve(name=name, durable_name=None)]
    creations = (f"CREATE.{stream}.{name}.{changed.filter_subject}", f"CREATE.{stream}.{name}", f"CREATE.{stream}")
    replies = await client.subscribe(f"{inbox(user)}.{'page.' if user == 'page' else ''}replies")
    for prefix in PREFIXES:
        for creation in (*creations, f"DURABLE.CREATE.{stream}.{name}"):
            for body in bodies:
                request = json.dumps({"stream_name": stream, "config": body.as_dict()}).encode()
                await client.publish(f"{prefix}CONSUMER.{creation}", request, reply=replies.subject)
        pause = b'{"pause_until": "2100-01-01T00:00:00Z"}'
        await client.publish(f"{prefix}CONSUMER.PAUSE.{stream}.{name}", pause, reply=replies.subject)
        for action in ("MSG.NEXT", "RESET", "UNPIN", "LEADER.STEPDOWN", "DELETE"):
            await client.publish(f"{prefix}CONSUMER.{action}.{stream}.{name}", b"", reply=replies.subject)
    for subject in acknowledgements:
        await client.publish(subject, b"+ACK")
    await client.flush(timeout=10)
    return sum(
        "$JS.ACK" in message.reply for message in [await replies.next_msg() for _ in range(replies.pending_msgs)]
    )


@pytest.mark.parametrize(("stream", "config"), CONSUMERS, ids=IDS)
@pytest.mark.parametrize("user", sorted({*USERS, *documented_users()} - {"service"}))
async def test_no_other_user_touches_a_consumer_of_the_service(
    guarded: GuardedNats, service: JetStreamContext, user: str, stream: str, config: ConsumerConfig
) -> None:
    # Given a consumer of the service, which has delivered messages that are not acknowledged yet
    acknowledgements = await pulled(service, stream, str(config.durable_name))
    before = await state(service, stream, config)
    # When another user tries all that JetStream offers
    async with connected(guarded, user) as client:
        received = await attack(client, user, stream, config, acknowledgements[:1])
    # Then it has received nothing, and the consumer is what it was
    assert received == 0
    after = await state(service, stream, config)
    assert (after.created, after.config, after.paused) == (before.created, before.config, before.paused)
    assert (after.num_pending, after.delivered) == (before.num_pending, before.delivered)
    assert after.num_ack_pending == before.num_ack_pending


async def test_the_service_restores_its_consumers(valkey: GuardedValkey) -> None:
    # Given the service with the permissions that it has in production
    async with server_with_all_users() as server, connected(server, "almighty") as almighty:
        js, settings = almighty.jetstream(), service_settings(server.url, valkey)

        async def found() -> list[tuple[str | None, int | None] | None]:
            """The filter and the number of deliveries that each consumer has; None for a missing one."""
            return [await _limits(js, stream, str(config.durable_name)) for stream, config in CONSUMERS]

        async def are_whole() -> bool:
            return await found() == [(config.filter_subject, config.max_deliver) for _, config in CONSUMERS]

        async with working(settings, FakeEngine()):
            # When somebody changes each consumer
            for stream, config in CONSUMERS:
                changed = config.evolve(filter_subject=str(config.filter_subject).replace("*", "none"), max_deliver=1)
                await js.add_consumer(stream, changed)
            # Then the service restores it
            await eventually(are_whole)
            # And when somebody deletes them, it creates them again
            for stream, config in CONSUMERS:
                await js.delete_consumer(stream, str(config.durable_name))
            await eventually(are_whole)
        # And NATS has refused nothing
        assert server.refused() == []


async def _limits(js: JetStreamContext, stream: str, name: str) -> tuple[str | None, int | None] | None:
    with suppress(NotFoundError):
        config = (await js.consumer_info(stream, name)).config
        return config.filter_subject, config.max_deliver
    return None
