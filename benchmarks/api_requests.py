"""Counts the JetStream API requests of all clients by kind, and the changes of streams."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

API, CHANGES, PULL = "$JS.API.", "$JS.EVENT.ADVISORY.STREAM.", "CONSUMER.MSG.NEXT"
CHANGING = ("CREATED", "UPDATED", "DELETED")


@dataclass
class ApiRequests:
    """Requests by kind, such as `STREAM.INFO`, and changes by stream, within `seconds`."""

    by_kind: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def pulls(self) -> int:
        """The number of requests for messages."""
        return self.by_kind[PULL]

    @property
    def others(self) -> int:
        """The number of all other requests."""
        return self.by_kind.total() - self.pulls

    async def add(self, message: Msg) -> None:
        """Count a request, or a change that the server reports."""
        if message.subject.startswith(API):
            self.by_kind[kind_of(message.subject)] += 1
            return
        action, stream = message.subject.removeprefix(CHANGES).split(".")[:2]
        if action in CHANGING:
            self.changes[stream] += 1


def kind_of(subject: str) -> str:
    """Return the kind of a request: the words before the names of stream and consumer."""
    words = subject.removeprefix(API).split(".")
    return ".".join(words[: 3 if words[1] in ("MSG", "DURABLE") else 2])


@asynccontextmanager
async def api_requests(nats: Nats) -> AsyncIterator[ApiRequests]:
    """Count until the block ends."""
    requests, began = ApiRequests(), time.perf_counter()
    subscriptions = [await nats.subscribe(f"{prefix}>", cb=requests.add) for prefix in (API, CHANGES)]
    await nats.flush()
    yield requests
    requests.seconds = time.perf_counter() - began
    for subscription in subscriptions:
        await subscription.unsubscribe()
