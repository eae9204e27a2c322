"""`natscribe top` on a terminal."""

import asyncio
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.terminal import start_command
from tests.waiting import eventually

WITHIN_S = 120.0  # a command imports a lot, and other tests run beside it
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


async def top_on(terminal: int, settings: Settings, folder: Path) -> asyncio.subprocess.Process:
    """Run the command on a terminal, and close this end of the terminal."""
    env = os.environ | {"NATS_URL": settings.nats_url, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = await start_command(folder, "top", env=env, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    return process


async def test_the_key_q_ends_the_command_before_nats_replies(tmp_path: Path) -> None:
    # Given a server that sends nothing, and the key q, which was pressed at once
    ours, theirs = os.openpty()
    os.write(ours, b"q")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # When the command starts
        settings = Settings(_env_file=None, nats_url=f"nats://127.0.0.1:{silent.getsockname()[1]}")
        process = await top_on(theirs, settings, tmp_path)
        # Then it ends without an error
        async with asyncio.timeout(WITHIN_S):
            assert await process.wait() == 0
    os.close(ours)


async def test_the_command_ends_when_its_terminal_is_closed(settings: Settings, worker: Worker, tmp_path: Path) -> None:
    # Given the command on a terminal that sends no signal when it is closed
    ours, theirs = os.openpty()
    process = await top_on(theirs, settings, tmp_path)
    shown = b""
    while b"waiting" not in shown:
        shown += await asyncio.to_thread(os.read, ours, 65536)
    # When the terminal is closed
    os.close(ours)
    # Then the command ends
    async with asyncio.timeout(WITHIN_S):
        await process.wait()


async def test_the_screen_shows_a_task_as_it_runs_until_q(
    settings: Settings, worker: Worker, engine: FakeEngine, publisher: Publisher, tmp_path: Path
) -> None:
    # Given the command on a terminal of 80 columns and 24 lines
    ours, theirs = os.openpty()
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # the command has ended
            shown.extend(os.read(ours, 65536))

    asyncio.get_running_loop().add_reader(ours, read)
    process = await top_on(theirs, settings, tmp_path)

    async def shows(words: str) -> bool:
        return words in " ".join(ESCAPES.sub(" ", shown.decode(errors="ignore")).split())

    async def eventually_shows(words: str) -> None:
        await eventually(lambda: shows(words), within=WITHIN_S)

    await eventually_shows("waiting running oldest")
    # When a task runs and ends
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await eventually_shows("t1 fetching")
    engine.may_go_on.set()
    # Then the screen shows both
    await eventually_shows("1 completed")
    # And the key q ends the command
    os.write(ours, b"q")
    assert await process.wait() == 0
    asyncio.get_running_loop().remove_reader(ours)
    os.close(ours)
    assert b"Traceback" not in shown
