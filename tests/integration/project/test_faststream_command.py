"""FastStream's own command runs the service, sends requests to it and documents it, as docs/faststream.md says."""

import asyncio
import json
import re
import shlex
import shutil
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from natscribe.client import Client
from natscribe.schemas.progress import State

from app.command.embedded import free_port
from app.main import Worker
from app.settings import Settings
from tests.document import DOCUMENT, ROOT, from_yaml
from tests.integration.conftest import Publisher
from tests.programs import BIN, WITHIN, line_with, output, started
from tests.servers import Servers
from tests.waiting import eventually

PAGE = (ROOT / "docs/faststream.md").read_text(encoding="utf-8")
RUN, RELOAD, REQUEST, PUBLISH, GENERATE, SERVE = re.findall(r"^\| `faststream (.+?)` \|", PAGE, re.MULTILINE)
STARTED = "app started successfully"


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch, servers: Servers) -> None:
    monkeypatch.setenv("REDIS_URL", servers.redis_url)


def command(line: str, **ports: int) -> list[Path | str]:
    """A command of the page, with free ports in place of its own, or of the default."""
    words = re.sub(r" --port \d+", "", line)
    return [BIN / "faststream", *shlex.split(words), *(f"--{name}={port}" for name, port in ports.items())]


async def test_a_request_is_sent_and_its_reply_printed(settings: Settings, worker: Worker) -> None:
    printed = await output(settings.nats_url, *command(REQUEST), cwd=ROOT)
    assert '"queues":[{"queue":"transcription"' in printed
    assert "nats_closed" not in printed


async def test_a_task_is_published(settings: Settings, publisher: Publisher, worker: Worker) -> None:
    assert await output(settings.nats_url, *command(PUBLISH), cwd=ROOT) == ""
    assert (await publisher.until("t1", State.COMPLETED))[0].user_id == 7


async def test_two_workers_run(settings: Settings) -> None:
    async def both() -> bool:
        return len(await client.workers()) == 2

    async with (
        started(settings.nats_url, *command(RUN, port=free_port()), cwd=ROOT) as service,
        Client(settings) as client,
    ):
        await line_with(service, STARTED)
        await eventually(both, within=WITHIN)


@pytest.mark.parametrize("changed", ["handlers/replies.py", "schemas/errors.py", "app/main.py"])
async def test_a_worker_restarts_when_a_file_changes(settings: Settings, tmp_path: Path, changed: str) -> None:
    # Given a worker that runs in a checkout
    for room in ("app", "handlers", "schemas"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    async with started(settings.nats_url, *command(RELOAD, port=free_port()), cwd=tmp_path) as service:
        await line_with(service, STARTED)
        # When a file is changed
        (tmp_path / changed).touch()
        # Then the worker starts again
        assert Path(changed).name in await line_with(service, "detected file change")
        await line_with(service, STARTED)


async def test_the_document_is_written(tmp_path: Path) -> None:
    written = tmp_path / "asyncapi.yaml"
    await output("", *command(GENERATE), "--out", str(written), cwd=ROOT)
    assert from_yaml(written.read_text(encoding="utf-8"))["channels"].keys() == DOCUMENT["channels"].keys()


async def test_a_page_of_the_document_is_served() -> None:
    port = free_port()

    def page() -> str:
        try:
            with urlopen(f"http://localhost:{port}") as reply:
                return str(reply.read().decode())
        except URLError:
            return ""

    async with started("nats://localhost:4222", *command(SERVE, port=port), cwd=ROOT):
        assert "Submit a transcription task" in await eventually(lambda: asyncio.to_thread(page), within=WITHIN)


async def test_a_middleware_is_added_without_a_fork(settings: Settings, publisher: Publisher, tmp_path: Path) -> None:
    # Given the middleware of the page
    (program,) = re.findall(r"```python\n(from faststream import BaseMiddleware.+?)```", PAGE, re.DOTALL)
    (tmp_path / "audited.py").write_text(program, encoding="utf-8")
    words = "run", "audited:app", "--app-dir", str(tmp_path), "--port", str(free_port())
    async with started(settings.nats_url, BIN / "faststream", *words, cwd=ROOT) as service:
        await line_with(service, STARTED)
        # When a task is published
        task = {"task_id": "t1", "audio_file_id": "nowhere.flac", "user_id": 7}
        await publisher.js.publish("tasks.transcription.normal", json.dumps(task).encode())
        # Then the middleware sees it
        await line_with(service, "received tasks.transcription.normal")
