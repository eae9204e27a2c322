"""FastStream's publishers on a connection that a test has made."""

from faststream.nats import NatsBroker
from nats.aio.client import Client

from app.storage.jetstream.publishers import Publishers, WithoutCorrelationId


def broker_on(nats: Client) -> NatsBroker:
    """A broker on a connection."""
    broker = NatsBroker(middlewares=[WithoutCorrelationId])
    broker.config.connect(nats)
    return broker


def publishers(nats: Client) -> Publishers:
    """Declare the publishers of a worker."""
    return Publishers(broker_on(nats))
