"""An outage of NATS or Valkey: the worker waits without spinning, logs it, and continues."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent

from app.command.embedded import free_port
from app.settings import Settings
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, Running, running
from tests.servers import NatsServer, ValkeyServer
from tests.waiting import eventually

OUTAGES = [float(seconds) for seconds in os.environ.get("CHAOS_OUTAGES", "").split(",") if seconds]
IDLE = 0.3  # of a core: a spinning loop takes a whole one

pytestmark = [pytest.mark.timeout(max(OUTAGES, default=0) + 180), pytest.mark.xdist_group("recovery")]


async def outage(service: Running, seconds: float) -> float:
    """The outage itself: the share of a core that the worker takes meanwhile."""
    worker = psutil.Process(service.process.pid)
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(seconds)
    return (sum(worker.cpu_times()[:2]) - before) / seconds


@pytest.mark.parametrize("seconds", OUTAGES)
@pytest.mark.parametrize("which", ["nats", "valkey"])
@pytest.mark.parametrize("busy", [True, False])
async def test_an_outage_loses_nothing(tmp_path: Path, which: str, seconds: float, busy: bool) -> None:
    servers = {
        "nats": NatsServer(tmp_path / "nats", free_port()),
        "valkey": ValkeyServer(tmp_path / "valkey", free_port()),
    }
    for server in servers.values():
        await server.start()
    settings = Settings(_env_file=None, nats_url=servers["nats"].url, redis_url=servers["valkey"].url, cache_ttl=0)
    async with running(settings, tmp_path / "log") as service, service.client() as client:
        # Given a worker that is busy, or idle
        task_id = await client.create_transcription_task(TWO_READERS, diarize=True)
        async for event in client.follow(task_id):
            if busy and isinstance(event, SegmentsEvent):
                break
        # When a server is stopped
        await servers[which].kill()
        assert (await service.get("/health/ready"))[0] == 503
        assert (await service.get("/health/live"))[0] == 200
        load = await outage(service, seconds)
        await servers[which].start()
        # Then the worker did not spin, is ready again, and has lost nothing
        assert load < IDLE or busy
        await eventually(service.ready, within=60)
        events = [event async for event in client.follow(task_id) if isinstance(event, ProgressEvent)]
        assert [event.state for event in events if event.state.ended] == [State.COMPLETED]
        other = await client.create_transcription_task(min(LIBRIVOX.glob("*.flac")))
        *_, last = [event async for event in client.follow(other)]
        assert isinstance(last, ProgressEvent)
        assert last.state is State.COMPLETED
    for server in servers.values():
        await server.stop()
