"""The consumer of docs/faststream.md, as it is there, with the login of a follower of the production stack."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from textwrap import indent

import nats
import pytest
from nats.aio.client import Client as Nats
from nats.js.api import DeliverPolicy
from natscribe.client import Client

from app.main import Worker
from app.settings import Settings
from tests.access.servers import RECORDING, GuardedNats, connected, environment, login
from tests.document import ROOT
from tests.fakes.messages import transcript
from tests.programs import BIN, WITHIN, line_with, output, started
from tests.servers import Servers
from tests.waiting import eventually

PAGE = (ROOT / "docs/faststream.md").read_text(encoding="utf-8")
(PROGRAM,) = re.findall(r"```python\n(import os\n.+?)```", PAGE, re.DOTALL)
MOST_LINES = 25
STREAM, DURABLE = "transcription_results", "mine"


@pytest.fixture
def program(tmp_path: Path, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the program, which finds the login of a follower and a NATS of its own in its environment."""
    (tmp_path / "consumer.py").write_text(PROGRAM, encoding="utf-8")
    for name, value in (environment("follower") | {"OWN_NATS_URL": servers.nats_url}).items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture
async def own(servers: Servers) -> AsyncIterator[Nats]:
    async with await nats.connect(servers.nats_url) as connection:
        yield connection


@asynccontextmanager
async def consuming(folder: Path, url: str, expected: str = "") -> AsyncIterator[None]:
    """The program runs; it prints a line with `expected` before it ends."""
    async with started(url, BIN / "faststream", "run", "consumer:app", cwd=folder) as process:
        await line_with(process, "app started successfully")
        yield
        if expected:
            await line_with(process, expected)


async def transcribe(settings: Settings) -> str:
    """Publish a task as a publisher, and wait for its result."""
    async with Client(login(settings, "publisher")) as client:
        task_id = await client.create_transcription_task(RECORDING)
        await client.wait_for_result(task_id)
    return task_id


async def stored(own: Nats) -> list[str]:
    """The ids of the tasks whose results the program has published."""
    js = own.jetstream()
    state = (await js.stream_info("transcripts")).state
    messages = [await js.get_msg("transcripts", sequence) for sequence in range(1, state.last_seq + 1)]
    return [json.loads(message.data or b"")["task_id"] for message in messages]


async def has_stored(own: Nats, ids: list[str]) -> bool:
    return await stored(own) == ids


async def has_read_all(follower: Nats) -> bool:
    consumer = await follower.jetstream().consumer_info(STREAM, DURABLE)
    return not consumer.num_pending and not consumer.num_ack_pending


def test_it_is_short() -> None:
    assert len([line for line in PROGRAM.splitlines() if line]) <= MOST_LINES


async def test_its_handler_is_tested_without_nats(program: Path) -> None:
    # Given the lines of the page in a test of an application's own
    (lines,) = re.findall(r"```python\n(async with TestNatsBroker.+?)```", PAGE, re.DOTALL)
    imports = "import asyncio\nfrom consumer import natscribe, own, ready\nfrom faststream.nats import TestNatsBroker\n"
    result = f"result = {transcript().model_dump(mode='json')!r}\n"
    test = f"async def main():\n{indent(result + lines, '    ')}\nasyncio.run(main())\n"
    # When it is run, then it passes
    await output("nats://localhost:4222", BIN / "python", "-c", imports + test, cwd=program)


async def test_it_loses_and_repeats_nothing(
    guarded: GuardedNats, worker: Worker, settings: Settings, program: Path, own: Nats
) -> None:
    js = own.jetstream()
    # Given a result that is older than the consumer
    old = await transcribe(settings)
    # When its handler raises once, because its own stream is away
    async with consuming(program, guarded.url, expected="NoStreamResponseError"):
        config = (await js.stream_info("transcripts")).config
        await js.delete_stream("transcripts")
        first = await transcribe(settings)
    await js.add_stream(config)
    # Then the message comes again, after a restart, together with what was published meanwhile, and nothing older
    second = await transcribe(settings)
    async with consuming(program, guarded.url), connected(guarded, "follower") as follower:
        await eventually(partial(has_read_all, follower), within=WITHIN)
        assert sorted(await stored(own)) == sorted([first, second])
        third = await transcribe(settings)
        await eventually(partial(has_read_all, follower), within=WITHIN)
        # When all results are delivered again, as to a durable that starts at the beginning
        config_of_consumer = (await follower.jetstream().consumer_info(STREAM, DURABLE)).config
    async with connected(guarded, "follower") as follower:
        await follower.jetstream().delete_consumer(STREAM, DURABLE)
        again = config_of_consumer.evolve(deliver_policy=DeliverPolicy.ALL)
        await follower.jetstream().add_consumer(STREAM, again)
        async with consuming(program, guarded.url):
            await eventually(partial(has_read_all, follower), within=WITHIN)
    # Then the three are recognised, and the fourth is new
    assert sorted(await stored(own)) == sorted([first, second, third, old])
    assert (await stored(own))[-1] == old
    # And the login of a follower was enough
    assert guarded.refused() == []
