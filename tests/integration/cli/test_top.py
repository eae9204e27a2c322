"""`natscribe top` on a terminal."""

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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
    found = {"NATS_URL": settings.nats_url, "COLUMNS": "80", "LINES": "24", "TERM": "xterm", "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-c", "from natscribe.cli import main; main()", "top")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, env=os.environ | found, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)

    async def shows(words: str) -> bool:
        return words in " ".join(ESCAPES.sub(" ", shown.decode(errors="ignore")).split())

    async def eventually_shows(words: str) -> None:
        await eventually(lambda: shows(words))

    await eventually_shows("waiting running oldest")
    # When a task runs and ends
    engine.may_go_on.clear()
    await publisher.publish("t1")
    await eventually_shows("t1 fetching")
    engine.may_go_on.set()
    # Then both is seen
    await eventually_shows("1 completed")
    # And the key q ends it, without a word
    os.write(ours, b"q")
    assert await process.wait() == 0
    asyncio.get_running_loop().remove_reader(ours)
    os.close(ours)
    assert b"Traceback" not in shown
