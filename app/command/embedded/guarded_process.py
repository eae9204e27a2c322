"""Runs a process that ends with its parent, even if the parent is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from app.command.embedded import guard

_MAX_LINE_BYTES = 4096  # the guard writes a line of up to this length atomically
LOCK_TIMEOUT_S = 8.0  # the processes of a killed earlier run stop and free the lock within this time


class GuardedProcess:
    """A command that runs under `guard.py`, which stops it when this process ends.

    The file `lock` is locked until the command has ended. `grace`: seconds between SIGTERM and SIGKILL. `output`:
    receives the output of the command.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        lock: Path,
        grace: float,
        output: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.pid = 0
        self.refusal = ""  # why the process was not started: another run holds the lock
        self._guard = subprocess.Popen(  # noqa: S603 -- our own command
            [sys.executable, "-IS", guard.__file__, str(lock), str(LOCK_TIMEOUT_S), str(grace), *command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            start_new_session=True,  # Ctrl-C reaches only the parent, which then stops the process
        )
        os.set_blocking(self._output.fileno(), False)

    @property
    def runs(self) -> bool:
        """Whether the process has started and has not ended."""
        self._read_report()
        return self.pid > 0 and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the process has ended or could not start."""
        return self._guard.poll() is not None

    async def wait(self) -> int:
        """Wait until the process ends, and return its exit code; after a signal, 128 plus the number of the signal."""
        code = await asyncio.to_thread(self._guard.wait)
        self._read_report()
        for pipe in filter(None, (self._guard.stdin, self._guard.stdout)):
            pipe.close()
        return code

    async def stop(self) -> int:
        """Stop the process with SIGTERM, kill it after the grace period, and return its exit code."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return await self.wait()

    def kill(self) -> None:
        """Kill the process and its children with SIGKILL, as in a crash."""
        if not self.ended:
            os.killpg(self._guard.pid, signal.SIGKILL)  # the group has the guard, the process and its children

    def _read_report(self) -> None:
        """Read what the guard has written, without waiting: the id of the process, or why it was not started."""
        if self._output.closed:
            return
        line = (self._output.read(_MAX_LINE_BYTES) or b"").decode(errors="replace").strip()
        if line.isdecimal():
            self.pid = int(line)
        elif line:
            self.refusal = line

    @property
    def _output(self) -> IO[bytes]:
        if self._guard.stdout is None:
            raise AssertionError
        return self._guard.stdout
