"""Draw docs/top.svg: what `natscribe top` shows while a service with two workers works on real recordings.

    make top-picture

The service runs in a folder of its own, with embedded servers. The recordings are joined from those of the tests.
"""

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import av
from natscribe.cli.top import gather
from natscribe.cli.top.board import Board
from natscribe.cli.top.picture import draw
from natscribe.client import Client
from natscribe.schemas.progress import State
from natscribe.schemas.wire import Priority
from natscribe.settings import Settings
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

ROOT = Path(__file__).parents[1]
SPEECH = sorted((ROOT / "tests/recordings/speech").glob("prompts-*.flac"))
RATE = 16_000
WIDTH, HEIGHT = 100, 20
MINUTES = {  # the length of each recording
    "phone-call-17": (2, Priority.HIGH),
    "board-meeting": (20, Priority.NORMAL),
    "interview-anna": (12, Priority.NORMAL),
    "lecture-03": (30, Priority.LOW),
    "podcast-12": (15, Priority.LOW),
}
# Web pages show the picture without content from other hosts, so it names no font of another host.
FONT_OF_ANOTHER_HOST = re.compile(r"@font-face\s*{.*?}\s*", re.DOTALL)


@asynccontextmanager
async def service(folder: Path) -> AsyncIterator[Settings]:
    """Run a service with two workers in a folder."""
    command = (sys.executable, "-c", "from natscribe.cli import main; main()", "up", "--workers", "2")
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log
        )
    endpoints = folder / ".data/endpoints.env"
    try:
        while not endpoints.exists() or "model_loaded" not in (folder / "log").read_text(encoding="utf-8"):
            await asyncio.sleep(0.5)
            if process.returncode is not None:
                sys.exit((folder / "log").read_text(encoding="utf-8"))
        yield Settings.read(endpoints)
    finally:
        process.send_signal(signal.SIGINT)
        await process.wait()


def samples() -> bytes:
    """Return the sound of all recordings, one after the other: 16 bits, mono."""
    sound = bytearray()
    for file in SPEECH:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
        with av.open(file) as opened:
            for frame in opened.decode(audio=0):
                for part in resampler.resample(frame):
                    sound += part.to_ndarray().tobytes()
    return bytes(sound)


def write_recording(path: Path, sound: bytes, minutes: int, start: int) -> None:
    """Write a recording of this length; a different start makes it another recording."""
    wanted = minutes * 60 * RATE * 2
    turned = sound[start * RATE * 2 :] + sound[: start * RATE * 2]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((turned * (wanted // len(turned) + 1))[:wanted])


async def main() -> None:
    """Let the service work for a while, then draw what `natscribe top` shows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = await asyncio.to_thread(samples)
        async with service(folder) as settings, Client(settings) as client:
            await client.create_transcription_task("interview-ben.m4a", task_id="interview-ben")
            for number, (task_id, (minutes, priority)) in enumerate(MINUTES.items(), start=1):
                path = folder / f"{task_id}.wav"
                write_recording(path, sound, minutes, start=7 * number)
                await client.create_transcription_task(
                    path, task_id=task_id, priority=priority, diarize=task_id == "board-meeting"
                )
            board = Board()
            deadline = time.monotonic() + 150
            while time.monotonic() < deadline:
                await gather(client, board)
                if min((task.progress for task in board.running.values()), default=0) > 8 and board.ended:  # noqa: PLR2004
                    break
            picture = draw(board, "nats://nats:4222, q quits", width=WIDTH, height=HEIGHT, now=time.monotonic())
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=StringIO(), force_terminal=True)
    console.print(picture)
    console.print()  # browsers cut the last line of the picture off at the bottom
    svg = console.export_svg(title="natscribe top", theme=DEFAULT_TERMINAL_THEME, unique_id="top")
    (ROOT / "docs/top.svg").write_text(FONT_OF_ANOTHER_HOST.sub("", svg), encoding="utf-8")
    sys.stdout.write(f"{board.ended[State.COMPLETED]} tasks have ended\n")


if __name__ == "__main__":
    asyncio.run(main())
