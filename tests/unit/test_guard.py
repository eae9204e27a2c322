"""The guard, as far as it needs no process to look after."""

import os
import subprocess
import sys
from pathlib import Path

from app.embedded import guard


def test_whoever_holds_a_lock_can_be_named(tmp_path: Path) -> None:
    # Given a file that another process has open, as this one has
    path = tmp_path / "lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock]) as holder:
        try:
            # When a person has to be told whom to stop
            # Then it is the other one
            assert guard._holders(lock) == [holder.pid]  # noqa: SLF001 -- it is a script: there is no way in
        finally:
            holder.communicate(b"\n")
            os.close(lock)
