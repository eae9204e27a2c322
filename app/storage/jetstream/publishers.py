"""The FastStream publishers of a worker: one for each channel of the contract on which the service publishes."""

from typing import Any

from faststream import BaseMiddleware
from faststream.nats import NatsBroker
from faststream.nats.publisher.usecase import LogicPublisher
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas import channels as contract
from natscribe.schemas import subjects
from natscribe.schemas.channels import Channel, Event

from app.storage.jetstream import channels


class Publishers:
    """Declares the publishers on a broker; each is used with the subject of the message."""

    def __init__(self, broker: NatsBroker) -> None:
        self.tasks = broker.publisher(subjects.ALL_TASKS, timeout=REQUEST_TIMEOUT_S, include_in_schema=False)
        self.progress = _declared(broker, contract.PROGRESS)
        self.segments = _declared(broker, contract.SEGMENTS)
        self.speakers = _declared(broker, contract.SPEAKERS)
        self.results = _declared(broker, contract.RESULTS)
        self.erased = _declared(broker, contract.ERASED)
        self.partials = _declared(broker, contract.PARTIALS)
        self.turns = _declared(broker, contract.TURNS)
        self.forgotten = _declared(broker, contract.FORGOTTEN)
        self.dead_letters = _declared(broker, contract.DEAD_LETTERS)
        self.windows = _declared(broker, channels.WINDOWS)
        self.grants = _declared(broker, channels.GRANTS)
        self.removed = _declared(broker, channels.REMOVED)
        self.positions = _declared(broker, channels.POSITIONS)
        self.reminders = _declared(broker, channels.REMINDERS)


def _declared(broker: NatsBroker, channel: Channel) -> LogicPublisher:
    return broker.publisher(
        channel.subject,
        timeout=REQUEST_TIMEOUT_S,
        title=channel.title,
        schema=channel.message,
        description=channel.meaning if isinstance(channel, Event) else None,
        include_in_schema=isinstance(channel, Event),
    )


class WithoutCorrelationId(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Publishes events without the header `correlation_id`, which FastStream adds: only replies have it."""

    async def publish_scope(self, call_next: Any, cmd: Any) -> Any:
        """Publish a message."""
        if self.msg is None:  # not a reply
            cmd.correlation_id = None
        return await call_next(cmd)
