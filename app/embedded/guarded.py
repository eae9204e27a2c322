"""A process that ends with its parent, even when that is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from app.embedded import guard


class Guarded:
    """A running process and its guard; `lock` is a file that is locked for as long as the process lives."""

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
        self._guard = subprocess.Popen(  # noqa: S603 -- our own words
            [sys.executable, "-IS", guard.__file__, str(lock), str(grace), *command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            start_new_session=True,  # Ctrl-C in the terminal leaves it to the parent to stop things in order
        )
        os.set_blocking(self._told.fileno(), False)

    @property
    def runs(self) -> bool:
        """Whether it has been started and has not ended."""
        self.pid = self.pid or int(self._told.read(32) or 0)
        return self.pid > 0 and not self.ended

    @property
    def ended(self) -> bool:
        """Whether it has ended, or could not start."""
        return self._guard.poll() is not None

    async def wait(self) -> int:
        """Wait for its end; its exit code, 128 and the number where a signal ended it."""
        code = await asyncio.to_thread(self._guard.wait)
        for pipe in filter(None, (self._guard.stdin, self._guard.stdout)):
            pipe.close()
        return code

    async def stop(self) -> int:
        """Ask it to end, make it after the grace; its exit code."""
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        return await self.wait()

    def kill(self) -> None:
        """End it and all that it has started with SIGKILL, as a crash would."""
        if not self.ended:
            os.killpg(self._guard.pid, signal.SIGKILL)  # a session of their own

    @property
    def _told(self) -> IO[bytes]:
        if self._guard.stdout is None:
            raise AssertionError
        return self._guard.stdout
