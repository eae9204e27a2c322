"""Counts the JetStream API requests of all clients, and the changes of streams."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

API, CHANGES, PULL = "$JS.API.", "$JS.EVENT.ADVISORY.STREAM.", "$JS.API.CONSUMER.MSG.NEXT."
CHANGING = ("CREATED", "UPDATED", "DELETED")


@dataclass
class ApiRequests:
    """Requests for messages and other requests, and changes by stream, within `seconds`."""

    pulls: int = 0
    others: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    async def add(self, message: Msg) -> None:
        """Count a request, or a change that the server reports."""
        if message.subject.startswith(PULL):
            self.pulls += 1
        elif message.subject.startswith(API):
            self.others += 1
        else:
            action, stream = message.subject.removeprefix(CHANGES).split(".")[:2]
            if action in CHANGING:
                self.changes[stream] += 1


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
