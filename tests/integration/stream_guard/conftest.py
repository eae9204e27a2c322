"""A client that changes the streams of the service, and what shows that the service has restored them."""

from collections.abc import AsyncIterator

import nats
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from natscribe.schemas.workers import Problem, WorkerInfo

from app.fleet.stream_guard import provisioning
from app.settings import Settings


@pytest.fixture
async def stranger(settings: Settings) -> AsyncIterator[JetStreamContext]:
    """A client that knows the names of the streams, and not what they are for."""
    async with await nats.connect(settings.nats_url, name="stranger") as connection:
        yield connection.jetstream()


async def is_healthy(js: JetStreamContext, settings: Settings) -> bool:
    return (await provisioning.inspect_streams(js, settings)).is_healthy


async def reported_problems(nc: Client) -> list[Problem]:
    """The problems that a worker reports, which `natscribe doctor` shows."""
    reply = await nc.request("workers.info", b"{}", timeout=5)
    return WorkerInfo.model_validate_json(reply.data).problems


async def has_no_problem(nc: Client) -> bool:
    return not await reported_problems(nc)
