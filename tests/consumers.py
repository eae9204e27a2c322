"""Many task consumers, each with a connection of its own, that handle messages without the rest of a worker."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.jetstream.nats_py_compat import send_pings_in_order
from natscribe.schemas.stream_names import StreamNames
from natscribe.schemas.wire import Lane, Priority

from app.queue.consumer import TaskConsumer
from app.settings import Settings
from app.stream_guard.provisioning import provision
from tests.waiting import eventually

KEYS = [(lane, priority) for priority in Priority for lane in (Lane.TRANSCRIPTION, Lane.DIARIZATION)]


@dataclass
class Fleet:
    """Task consumers, and the messages that they have handled."""

    nc: Client
    names: StreamNames
    task_seconds: float = 0.02
    handled: list[tuple[str, str]] = field(default_factory=list)  # subject and body of each message, in their order
    consumers: list[tuple[TaskConsumer, Client]] = field(default_factory=list)

    async def start(self, url: str) -> None:
        """Add a consumer."""
        connection = await nats.connect(url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)
        send_pings_in_order(connection)
        consumer = TaskConsumer(dict.fromkeys(KEYS, self._handle), self.names, broken=pytest.fail)
        await consumer.start(connection)
        self.consumers.append((consumer, connection))

    async def stop_one(self) -> None:
        """Stop the first consumer as a worker does."""
        consumer, connection = self.consumers.pop(0)
        await consumer.stop(grace=5)
        await connection.drain()

    async def become_idle(self) -> None:
        """Wait until each consumer has an open pull at each queue."""

        async def is_idle() -> bool:
            queues = [self.names.queue_consumer(*key) for key in KEYS]
            infos = [await self.nc.jetstream().consumer_info(self.names.tasks, queue) for queue in queues]
            return all((info.num_waiting or 0) >= len(self.consumers) for info in infos)

        await eventually(is_idle)

    async def handles_once(self, bodies: Sequence[str], *, within: float) -> None:
        """Wait until each message is handled, and check that none is handled twice."""
        await eventually(lambda: {body for _, body in self.handled} >= set(bodies), within=within)
        assert Counter(body for _, body in self.handled) == Counter(bodies)

    async def _handle(self, message: Msg) -> None:
        self.handled.append((message.subject, message.data.decode()))
        await asyncio.sleep(self.task_seconds)
        await message.ack()


@asynccontextmanager
async def fleet(settings: Settings, nc: Client, urls: Sequence[str], count: int) -> AsyncIterator[Fleet]:
    """Idle task consumers that are connected to the servers `urls` in turn, until the body ends."""
    await provision(nc.jetstream(), settings)
    consumers = Fleet(nc, settings.stream_names)
    try:
        for number in range(count):
            await consumers.start(urls[number % len(urls)])
        await consumers.become_idle()
        yield consumers
    finally:
        while consumers.consumers:
            await consumers.stop_one()
