"""Temporary files whose names contain the process id, so that the files of killed processes can be removed."""

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import structlog
from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import TransientError

PREFIX = "natscribe-"

log = structlog.get_logger(__name__)


@asynccontextmanager
async def temporary_file(size: int) -> AsyncIterator[Path]:
    """Create an empty temporary file that only the worker's user account may read; remove it after the `with` block.

    `size`: how many bytes the caller will write; only for the error message. If the file cannot be removed, log a
    warning.

    Raises:
        TransientError: The temporary folder is so full that no file can be created (code `internal`).
    """
    with report_full_disk(size):
        descriptor, name = tempfile.mkstemp(prefix=f"{PREFIX}{os.getpid()}-")
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        try:
            await asyncio.to_thread(path.unlink, missing_ok=True)
        except OSError as error:  # the file is no longer needed, and a later start removes it
            log.warning("temporary_file_left", file=path.name, error=type(error).__name__)


@contextmanager
def report_full_disk(size: int) -> Iterator[None]:
    """Report a full temporary folder while the `with` block writes a file of `size` bytes: log a warning, and raise.

    Raises:
        TransientError: The temporary folder is full (code `internal`).
    """
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        folder = tempfile.gettempdir()
        log.warning(
            "temporary_folder_filled", folder=folder, needed_bytes=size, free_bytes=shutil.disk_usage(folder).free
        )
        message = (
            f"The worker's temporary folder has no room for the {size} bytes of the recording: the service tries again;"
            " let the operator free space there, or give the worker a larger folder (TMPDIR)."
        )
        raise TransientError(ErrorCode.INTERNAL, message) from error


def is_disk_full(error: Exception) -> bool:
    """Return whether an error reports a full disk, or an exhausted disk quota of the worker's user account."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def remove_stale_files() -> None:
    """Remove the temporary files that killed processes of this service have left."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = path.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            with suppress(OSError):  # the file belongs to another user
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):  # no process has this number
        return False
    except PermissionError:  # it runs as another user
        pass
    return True
