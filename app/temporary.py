"""Temporary files whose names contain the process id, so that the files of killed processes can be removed."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

PREFIX = "natscribe-"


@asynccontextmanager
async def temporary_file() -> AsyncIterator[Path]:
    """Create an empty file that only this user may read, and remove the file after the block."""
    descriptor, name = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-")
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)


def sweep() -> None:
    """Remove the files of processes that have ended from the temporary folder."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not _lives(int(owner)):
            with suppress(OSError):  # the file belongs to another user
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has this number
        return False
    except PermissionError:
        return True
    return True
