"""What FastStream costs with this service's words: the bare loop's tasks through its own subscribers."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from redis.asyncio import Redis

from app.cancellation import cancel_all
from app.jetstream import provisioning, streams
from app.settings import Settings
from benchmarks.bare_queue import LANE, BareQueue, tell_ready
from handlers.given import Message
from schemas import subjects
from schemas.transcription import TranscriptionTask

_settings = Settings(_env_file=None)
_names = streams.names(_settings)
_at_once = int(os.environ["AT_ONCE"])
_broker = NatsBroker(_settings.nats_url, logger=None)


@_broker.subscriber(subjects.ALL_ACCEPTED, no_reply=True)
async def announce(task: TranscriptionTask, message: Message) -> None:
    """Say `queued`."""
    del task  # FastStream has read it, as it does for the service
    await app.context.get("queue").announce(message.raw_message)


@_broker.subscriber(
    subjects.tasks(*LANE),
    stream=JStream(_names.tasks, declare=False),
    durable=_names.lane(*LANE),
    pull_sub=PullSub(batch_size=_at_once, timeout=1.0),
    ack_policy=AckPolicy.NACK_ON_ERROR,
    max_workers=_at_once,
    no_reply=True,
)
async def work(task: TranscriptionTask, message: Message) -> None:
    """Say the other words; FastStream acknowledges."""
    del task
    await app.context.get("queue").work_on(message.raw_message)


@asynccontextmanager
async def _lifespan() -> AsyncIterator[None]:
    nats, redis = await _broker.connect(), Redis.from_url(_settings.redis_url)
    await provisioning.provision(nats.jetstream(), _settings)
    queue = BareQueue(nats, redis, _settings)
    app.context.set_global("queue", queue)
    showing = asyncio.create_task(queue.show())
    try:
        yield
    finally:
        await cancel_all([showing])
        await redis.aclose()


app = FastStream(_broker, logger=None, lifespan=_lifespan, after_startup=[tell_ready])
