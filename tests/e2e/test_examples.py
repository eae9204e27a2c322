"""The examples do what they say, against a real worker and real speech."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest

from app.client import Client
from schemas.progress import State
from tests.e2e.conftest import LIBRIVOX, ROOT, TWO_READERS, Running

pytestmark = pytest.mark.xdist_group("examples")

BIN = Path(sys.executable).parent
EXAMPLES = ROOT / "examples"
MODULES = ROOT / "tools/node/node_modules"
CLIP = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0930.flac"
SAID = "made amiable himself"
WITHIN = 60  # seconds


@asynccontextmanager
async def started(service: Running, *command: Path | str, cwd: Path = EXAMPLES) -> AsyncIterator[Process]:
    """A program that knows of the service where its NATS is, and no more."""
    environment = os.environ | {"NATS_URL": service.settings.nats_url, "PYTHONUNBUFFERED": "1"}
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, env=environment, stdout=PIPE, stderr=STDOUT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def output(service: Running, *command: Path | str, cwd: Path = EXAMPLES) -> str:
    """What a program prints until it ends well."""
    async with started(service, *command, cwd=cwd) as process:
        printed = (await asyncio.wait_for(process.communicate(), WITHIN))[0].decode()
    assert process.returncode == 0, printed
    return printed


async def line_with(process: Process, text: str) -> str:
    """The first line of a program's output that has this in it."""
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN):
        async for line in process.stdout:
            if text in line.decode():
                return line.decode()
    pytest.fail(f"ended without saying {text!r}")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Node example as somebody else has it after `npm install`."""
    folder = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(MODULES)
    return folder


async def test_the_first_client(service: Running) -> None:
    printed = await output(service, BIN / "python", "first_client.py", TWO_READERS)
    assert "running transcribing" in printed
    assert "completed None 100 %" in printed
    assert {"SPEAKER_00", "SPEAKER_01"} <= {line.partition(":")[0] for line in printed.splitlines()}


async def test_the_typed_client(service: Running) -> None:
    printed = await output(service, BIN / "python", "typed_client.py", CLIP)
    assert "completed 100 %" in printed
    assert SAID in printed.lower()


async def test_the_node_client_compiles_strictly_and_transcribes(service: Running, project: Path) -> None:
    node = BIN / "node"
    await output(service, node, "node_modules/.bin/tsc", cwd=project)
    printed = await output(service, node, "dist/transcribe.js", CLIP, cwd=project)
    assert "running transcribing" in printed
    assert "completed null 100 %" in printed
    assert SAID in printed.lower()


async def test_the_follower_hears_what_it_missed(service: Running, client: Client) -> None:
    # Given a result that came before the follower
    task_id = await client.create_transcription_task(CLIP)
    async for event in client.follow(task_id):
        last = event
    assert last.state is State.COMPLETED
    # When it starts
    async with started(service, BIN / "python", "follower.py") as follower:
        # Then it hears of it
        line = await line_with(follower, task_id)
    assert "transcription" in line
    assert "segments" in line


async def test_the_faststream_client(service: Running) -> None:
    # Given a service that knows the subjects and has schemas of its own
    connection = await nats.connect(service.settings.nats_url)
    try:
        heard = await connection.subscribe("transcripts.ready")
        async with started(service, BIN / "faststream", "run", "faststream_client:app") as process:
            await line_with(process, "FastStream app started")
            # When somebody tells it of a recording
            with CLIP.open("rb") as recording:
                await (await connection.jetstream().object_store("audio")).put("clip.flac", recording)
            uploaded = json.dumps({"name": "clip.flac", "user_id": 1}).encode()
            await connection.publish("recordings.uploaded", uploaded, headers={"message_id": "from-faststream"})
            # Then it tells its own world of the transcript
            async with asyncio.timeout(WITHIN):
                async for message in heard.messages:
                    ready = json.loads(message.data)
                    if ready["task_id"] == "from-faststream":
                        break
        assert ready["lines"]
    finally:
        await connection.close()
