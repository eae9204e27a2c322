"""A worker whose connection is closed ends with an error."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from app.settings import Settings
from tests.waiting import patiently

ROOT = Path(__file__).parents[3]
PATIENCE_S = 90.0  # a worker imports a lot, and other tests run beside it

CLOSED = """
import asyncio, sys
from app.main import Worker
from app.settings import Settings
from tests.waiting import patiently
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually

def started(service):
    async def look():
        return service.container.slots.running
    return look

async def live():
    service = Worker(Settings.model_validate_json(sys.argv[1]), FakeEngine())
    async with service.app.start_lifespan_context():
        await eventually(started(service))
        connection = await service.broker.connect()
        if sys.argv[2] == "close":
            await connection.close()
            await asyncio.sleep(60)

asyncio.run(live())
"""

# A cluster that elects a leader answers some requests, and others not in time.
UNANSWERED = """
import asyncio, sys
from nats.errors import TimeoutError
from nats.js.client import JetStreamContext
from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine

subscribe = JetStreamContext.pull_subscribe

async def subscribe_or_refuse(*args, **options):
    if "ready_live" in str((args, options)):
        raise TimeoutError
    return await subscribe(*args, **options)

JetStreamContext.pull_subscribe = subscribe_or_refuse
app = Worker(Settings.model_validate_json(sys.argv[1]), FakeEngine()).app
asyncio.run(app.run(run_extra_options={"port": "0"}))
"""


async def run(*arguments: str, environment: Mapping[str, str] = MappingProxyType({})) -> tuple[int | None, str]:
    command, variables = [sys.executable, *arguments], os.environ | environment
    worker = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=variables)
    async with asyncio.timeout(patiently(PATIENCE_S)):
        output, errors = await worker.communicate()
    return worker.returncode, (output + errors).decode()


async def test_a_worker_ends_when_its_connection_is_closed_under_it(settings: Settings, nc: object) -> None:
    code, output = await run("-c", CLOSED, settings.model_dump_json(), "close")
    assert code == 1
    assert "nats_closed" in output


async def test_a_worker_ends_when_its_subscribers_cannot_start(settings: Settings, nc: object) -> None:
    # Given a worker that serves HTTP already, when NATS does not answer some of its subscribers
    code, output = await run("-c", UNANSWERED, settings.model_dump_json())
    # Then it ends with an error, for its supervisor to start it again
    assert code not in {0, None}
    assert "worker_start_failed" in output
