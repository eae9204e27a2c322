"""Ends what a test run has started once the run has ended, even if it was killed: `python watchdog.py RUN`.

All processes that a run starts, its pytest-xdist workers and their servers included, inherit an environment variable
with the id of the run. The watchdog waits until the run closes the watchdog's standard input, which happens however the
run ends, and then kills all processes with this variable, and their descendants.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil

RUN = "NATSCRIBE_TEST_RUN"  # the environment variable
PATIENCE_S = 10.0  # a process that cannot be killed must not keep the run from ending
MEMORY = Path("/dev/shm")  # noqa: S108 -- folders in it have random names


@contextmanager
def watched() -> Iterator[None]:
    """Have all processes that are started in the block killed when the block or this process ends."""
    run = uuid4().hex
    watchdog = subprocess.Popen([sys.executable, __file__, run], stdin=subprocess.PIPE, start_new_session=True)
    os.environ[RUN] = run
    with watchdog:  # closes standard input, and waits
        yield


def main() -> None:
    """Wait for the end of the run, and remove its processes and its data in memory."""
    run = sys.argv[1]
    sys.stdin.read()
    deadline = time.monotonic() + PATIENCE_S
    while (processes := _processes_of(run)) and time.monotonic() < deadline:
        for process in processes:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(processes, timeout=0.1)
    for folder in MEMORY.glob(f"{prefix(run)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def prefix(run: str) -> str:
    """How the names of a run's folders in memory begin."""
    return f"natscribe-tests-{run}-"


def _processes_of(run: str) -> set[psutil.Process]:
    """The processes of a run; some, as Valkey, overwrite their environment, but are children of others."""
    return {
        descendant
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get(RUN) == run
        for descendant in (process, *_descendants(process))
        if _lives(descendant)
    }


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def _lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    main()
