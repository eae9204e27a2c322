"""Handles requests of programs that discover services on NATS: `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`."""

from faststream import StreamMessage
from faststream.nats import NatsRouter
from nats.aio.msg import Msg
from natscribe.schemas import channels

from app.requests.discovery import ServiceInstance


def subscribe(router: NatsRouter, instance: ServiceInstance) -> None:
    """Declare the subscribers to requests of all services, of this service, and of this worker."""
    for channel in channels.DISCOVERY:
        for verb, reply in instance.replies.items():
            subject = channel.subject.format(verb=verb, instance=instance.id)
            title, description = channel.title, channel.description
            router.subscriber(subject, title=title, description=description, decoder=_without_body)(reply)


async def _without_body(_: StreamMessage[Msg]) -> bytes:  # which may be no JSON
    return b""
