"""The service starts or ends during an outage of NATS: its exit codes and its log."""

import asyncio
import json
import os
import signal
import sys
from asyncio import StreamReader
from asyncio.subprocess import Process
from pathlib import Path

import pytest
from natscribe.client import Client
from natscribe.client.errors import NoJetStreamError

from app.command.embedded import free_port, running
from app.main import Worker
from app.settings import Settings
from app.storage.jetstream.connection import NATS_WITHIN_S
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.cli.test_doctor import NatsWithoutJetStream
from tests.servers import NatsServer

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[3]
WITHIN_S = 240.0  # two workers import a lot, and other tests run beside them


async def start_service(settings: Settings, nats_url: str, *options: str) -> tuple[Process, StreamReader]:
    """Start the service as a process; return it, and its log."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "faststream", "run", "app.main:app", "--port", str(free_port()), *options),
        cwd=ROOT,
        env={**os.environ, "NATS_URL": nats_url, "REDIS_URL": settings.redis_url},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    return process, process.stderr


async def test_a_start_without_nats_ends_with_one_sentence(settings: Settings, constants: Constants) -> None:
    # Given an address without a server
    constants(NATS_WITHIN_S=0.2)
    address = f"127.0.0.1:{free_port()}"
    service = Worker(settings.model_copy(update={"nats_url": f"nats://me:secret@{address}"}), FakeEngine())
    # When the service starts, then the error has the address without the login, and the next step
    with pytest.raises(
        ConnectionError, match=f"No NATS server answers at nats://{address}: .*correct NATS_URL"
    ) as ended:
        async with service.app.start_lifespan_context():
            pass
    assert ended.value.__suppress_context__


async def test_a_start_without_jetstream_ends_with_one_sentence(
    settings: Settings, tmp_path: Path, constants: Constants
) -> None:
    # Given a NATS server that stores nothing
    constants(NATS_WITHIN_S=2.0)
    server = NatsWithoutJetStream(tmp_path, free_port())
    async with running(server):
        there = settings.model_copy(update={"nats_url": server.url, "audio_store": "nats://audio"})
        # When the service starts, then the error names the option of nats-server
        with pytest.raises(ConnectionError, match="no JetStream: start nats-server with -js"):
            async with Worker(there, FakeEngine()).app.start_lifespan_context():
                pass
        # And so do the errors of the client
        async with Client(there) as client:
            with pytest.raises(NoJetStreamError, match="start nats-server with -js"):
                await client.create_transcription_task(ROOT / "app/command/demo/two_readers.flac")


async def test_workers_end_in_order_during_an_outage_of_nats(nats_server: NatsServer, settings: Settings) -> None:
    # Given two workers
    process, lines = await start_service(settings, nats_server.url, "--workers", "2")
    log = b""
    async with asyncio.timeout(WITHIN_S):
        while log.count(b"started successfully") < 2:
            log += (line := await lines.readline())
            assert line
        # When NATS is killed, and then the workers are stopped
        await nats_server.kill()
        while log.count(b"nats_disconnected") < 2:
            log += await lines.readline()
        process.terminate()
        log += await lines.read()
        # Then they end in order
        assert await process.wait() == 0
    assert b"Traceback" not in log
    # And all lines are JSON, also those of the parent process
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert any(event.startswith("Started parent process") for event in events)
    assert events.count("worker_configured") == 2


async def test_a_start_that_waits_for_nats_can_be_interrupted(settings: Settings) -> None:
    # Given a worker that waits for NATS at an address without a server
    process, lines = await start_service(settings, f"nats://127.0.0.1:{free_port()}")
    async with asyncio.timeout(WITHIN_S):
        while b"nats_error_received" not in await lines.readline():
            assert process.returncode is None
    # When it is interrupted
    process.send_signal(signal.SIGINT)
    # Then it ends at once, and reports why it did not start
    async with asyncio.timeout(NATS_WITHIN_S / 2):
        log = await lines.read()
        assert await process.wait() != 0
    assert b"No NATS server answers" in log
