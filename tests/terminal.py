"""The command `natscribe` as a process of its own."""

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path

from app.settings import Settings

ROOT = Path(__file__).parents[1]
COMMAND = (sys.executable, "-c", "from natscribe.cli import main; main()")


def install_command(folder: Path) -> Path:
    """Make the program `bin/natscribe` in a folder; return its path."""
    command = folder / "bin" / "natscribe"
    command.parent.mkdir(parents=True)
    command.write_text(f"#!{sys.executable}\nfrom natscribe.cli import main\nmain()\n", encoding="utf-8")
    command.chmod(0o755)
    return command


async def start_command(
    folder: Path,
    *arguments: str,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: int = PIPE,
    stderr: int = PIPE,
) -> Process:
    """Start the command with these arguments in a folder."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments),
        cwd=folder,
        env={**env, "PYTHONPATH": path},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


async def run_on_screen(folder: Path, *arguments: str, env: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in a terminal of 24 lines and 80 columns; return its exit code, and everything that it writes.

    `env`: more environment variables.
    """
    return await asyncio.to_thread(_run_on_screen, folder, arguments, env)


def _run_on_screen(folder: Path, arguments: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
    screen, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LINES"}}
    process = subprocess.Popen(
        (*COMMAND, *arguments),
        cwd=folder,
        env={**inherited, **env},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    written = b""
    try:
        while chunk := os.read(screen, 65536):
            written += chunk
    except OSError:  # Linux says so when the command has ended
        pass
    finally:
        os.close(screen)
    return process.wait(), written.decode()


class Terminal:
    """Runs commands in a folder, with the servers of `settings` and further environment variables."""

    def __init__(self, folder: Path, settings: Settings, **environment: str) -> None:
        self.folder = folder
        servers = {"NATS_URL": settings.nats_url, "AUDIO_STORE": settings.audio_store}
        self._env = os.environ | servers | environment

    async def start(self, *arguments: str, **streams: int) -> Process:
        """Start a command; `streams`: `stdin`, `stdout` and `stderr`."""
        return await start_command(self.folder, *arguments, env=self._env, **streams)

    async def run(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """Run a command; return its exit code, standard output and standard error."""
        process = await self.start(*arguments)
        out, err = await process.communicate(stdin)
        return process.returncode or 0, out.decode(), err.decode()
