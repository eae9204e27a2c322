"""`natscribe mock` as people start it."""

import asyncio
import signal

from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, started
from tests.servers import Servers


async def test_it_plays_until_it_is_interrupted(servers: Servers, publisher: Publisher) -> None:
    # Given the command
    async with started(servers.nats_url, BIN / "natscribe", "mock", "--seconds", "0") as process:
        assert servers.nats_url in await line_with(process, "The mock of the service runs")
        # When a client publishes a task whose recording is not there
        await publisher.publish("t1")
        assert (await publisher.until("t1", State.FAILED))[-1].error is not None
        # Then the command reports what it does
        await line_with(process, "t1: failed")
        # And ends with Ctrl-C
        process.send_signal(signal.SIGINT)
        output, _ = await asyncio.wait_for(process.communicate(), WITHIN)
        assert process.returncode == INTERRUPTED
        assert b"Traceback" not in output
