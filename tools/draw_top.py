"""Draw docs/top.svg: what `natscribe top` shows while a service with two workers processes real recordings.

    make top-picture

The service runs in a folder of its own, with embedded servers. The recordings are joined from those of the tests.
"""

import asyncio
import re
import sys
import tempfile
import time
from io import StringIO
from pathlib import Path

from natscribe.cli.top import keep_current
from natscribe.cli.top.dashboard import Dashboard
from natscribe.cli.top.layout import render
from natscribe.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority
from natscribe.settings import Settings
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from app.command.service import run_service
from app.runtime.cancellation import cancel_all
from tests.truth.recordings import speech

ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT = 100, 20
LONGEST_S = 150
SHOWN_PROGRESS = 8  # percent of each running task
TASKS = {  # the length of each recording in minutes
    "phone-call-17": (2, Priority.HIGH),
    "board-meeting": (20, Priority.NORMAL),
    "interview-anna": (12, Priority.NORMAL),
    "lecture-03": (30, Priority.LOW),
    "podcast-12": (15, Priority.LOW),
}
# Web pages show the picture without content from other hosts, so it names no font of another host.
FONT_OF_ANOTHER_HOST = re.compile(r"@font-face\s*{.*?}\s*", re.DOTALL)


async def board_of(folder: Path, client: Client) -> Dashboard:
    """Publish tasks, and return the board when some have ended and all others have made progress."""
    await client.create_transcription_task("interview-ben.m4a", task_id="interview-ben")  # fails: it is not uploaded
    for task_id, (minutes, priority) in TASKS.items():
        recording = await asyncio.to_thread(speech, folder / f"{task_id}.wav", minutes)
        await client.create_transcription_task(
            recording.path, task_id=task_id, priority=priority, diarize=task_id == "board-meeting"
        )
    board, deadline = Dashboard(), time.monotonic() + LONGEST_S
    updating = asyncio.create_task(keep_current(client, board))
    while time.monotonic() < deadline:
        await asyncio.sleep(1)
        if board.ended and min((task.latest.progress for task in board.running.values()), default=0) > SHOWN_PROGRESS:
            break
    await cancel_all([updating])
    return board


async def main() -> None:
    """Draw the board of a running service."""
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w+b") as log:
        folder = Path(name)
        async with run_service(folder / "data", workers=2, output=log, embed_all=True) as service:
            if not await service.wait_until_ready():
                log.seek(0)
                sys.exit(log.read().decode())
            async with Client(Settings(nats_url=service.servers["NATS_URL"])) as client:
                board = await board_of(folder, client)
        picture = render(board, "nats://nats:4222, q quits", width=WIDTH, height=HEIGHT, now=time.monotonic())
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=StringIO(), force_terminal=True)
    console.print(picture)
    console.print()  # browsers cut the last line of the picture off at the bottom
    svg = console.export_svg(title="natscribe top", theme=DEFAULT_TERMINAL_THEME, unique_id="top")
    (ROOT / "docs/top.svg").write_text(FONT_OF_ANOTHER_HOST.sub("", svg), encoding="utf-8")
    sys.stdout.write(f"{board.ended[State.COMPLETED]} tasks have ended\n")


if __name__ == "__main__":
    asyncio.run(main())
