"""FastStream leaves pulling to the task consumer, and handles the messages that it is handed."""

import pytest
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig

from app.jetstream.pull_inbox import PullInbox
from handlers.task_queues import without_pulling
from tests.servers import Servers
from tests.waiting import eventually


@pytest.fixture
def handled() -> list[str]:
    return []


def subscriber(broker: NatsBroker, subject: str, handled: list[str]) -> PullStreamSubscriber:
    created = broker.subscriber(
        subject,
        stream=JStream("letters", declare=False),
        durable=subject,
        pull_sub=PullSub(batch_size=1),
        ack_policy=AckPolicy.MANUAL,
    )

    async def handle(body: str) -> None:
        handled.append(body)

    created(handle)
    return created


async def test_faststream_pulls_only_where_no_subscription_is_set(
    servers: Servers, nc: Client, js: JetStreamContext, handled: list[str]
) -> None:
    # Given a stream, and two subscribers, of which one has its pull loop replaced
    await js.add_stream(name="letters", subjects=["with_loop", "without_loop"])
    for subject in ("with_loop", "without_loop"):
        await js.add_consumer("letters", ConsumerConfig(durable_name=subject, filter_subject=subject))
        await js.publish(subject, subject.encode())
    broker = NatsBroker(servers.nats_url)
    subscriber(broker, "with_loop", handled)
    replaced = without_pulling(subscriber(broker, "without_loop", handled))
    # When FastStream starts, and pulls for the other one
    async with broker:
        await broker.start()
        await eventually(lambda: handled == ["with_loop"])
        # Then FastStream has sent no pull request instead of the task consumer
        consumer = await js.consumer_info("letters", "without_loop")
        assert (consumer.num_waiting, consumer.num_pending) == (0, 1)
        # And handles the message that it is handed
        (message,) = await PullInbox(nc, "letters", "without_loop").pull(1)
        await replaced.consume(message)
        assert handled == ["with_loop", "without_loop"]
