"""A connection that the library has closed never comes back: the worker ends, loudly, to be restarted."""

import asyncio
import sys
from asyncio.subprocess import PIPE

from app.settings import Settings

WORKER = """
import asyncio, sys
from app.main import Service
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.waiting import eventually

def started(service):
    async def look():
        return service.slot.started
    return look

async def live():
    service = Service(Settings.model_validate_json(sys.argv[1]), FakeEngine())
    async with service.app.start_lifespan_context():
        await eventually(started(service))
        connection = await service.broker.connect()
        if sys.argv[2] == "close":
            await connection.close()
            await asyncio.sleep(60)

asyncio.run(live())
"""


async def run(settings: Settings, what: str) -> tuple[int | None, str]:
    command = [sys.executable, "-c", WORKER, settings.model_dump_json(), what]
    worker = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(30):
        said, errors = await worker.communicate()
    return worker.returncode, (said + errors).decode()


async def test_a_worker_ends_when_its_connection_is_closed_under_it(settings: Settings, nc: object) -> None:
    code, said = await run(settings, "close")
    assert code == 1
    assert "nats_closed" in said


async def test_a_worker_that_is_stopped_ends_well(settings: Settings, nc: object) -> None:
    code, said = await run(settings, "stop")
    assert code == 0, said
    assert "nats_closed" not in said
