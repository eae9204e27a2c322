"""Counts the JetStream API requests of all clients by kind, and the changes of streams."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

API, CHANGES = "$JS.API.", "$JS.EVENT.ADVISORY.STREAM."
CHANGING = ("CREATED", "UPDATED", "DELETED")


@dataclass(frozen=True)
class ApiRequests:
    """Requests by kind, such as `STREAM.INFO`, and changes by stream, of an interval."""

    by_kind: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)

    async def add_request(self, request: Msg) -> None:
        """Count a request."""
        self.by_kind[kind_of(request.subject)] += 1

    async def add_change(self, advisory: Msg) -> None:
        """Count a change, which the server reports."""
        action, stream = advisory.subject.removeprefix(CHANGES).split(".")[:2]
        if action in CHANGING:
            self.changes[stream] += 1


def kind_of(subject: str) -> str:
    """Return the kind of a request: the words before the names of stream and consumer."""
    words = subject.removeprefix(API).split(".")
    return ".".join(words[: 3 if words[1] in ("MSG", "DURABLE") else 2])


@asynccontextmanager
async def api_requests(nats: Nats) -> AsyncIterator[ApiRequests]:
    """Count until the block ends."""
    counted = ApiRequests()
    subscriptions = [
        await nats.subscribe(f"{API}>", cb=counted.add_request),
        await nats.subscribe(f"{CHANGES}>", cb=counted.add_change),
    ]
    await nats.flush()
    try:
        yield counted
    finally:
        await nats.flush()
        for subscription in subscriptions:
            await subscription.unsubscribe()
