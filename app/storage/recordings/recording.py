"""A recording in a local file, the interface of the stores of recordings, and the errors of unusable recordings."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, NoReturn, Protocol

from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import PermanentError, TransientError

_MAX_NAME_BYTES: Final = 900  # S3 allows 1024 for prefix and name
_NAME: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\\\ud800-\udfff]+")  # some servers take a backslash for a slash
GONE = "The recording disappeared while the task ran: let the operator check the service's folder."
REPLACED = "The recording was replaced while the task ran: submit it again under a new task id."


@dataclass(frozen=True)
class Recording:
    """A recording in a local file, which exists while a task works on it."""

    path: Path
    sha256: str
    stamp: "Stamp | None" = None  # None: the file is a copy of this service, which nobody changes

    async def check(self) -> None:
        """Check that the file has not changed since its SHA-256 was computed.

        Raises:
            PermanentError: The recording was replaced (code `audio_unreadable`).
            TransientError: The recording has disappeared (code `internal`).
        """
        if self.stamp is not None:
            await asyncio.to_thread(self._check)

    def _check(self) -> None:
        try:
            same = read_stamp(self.path) == self.stamp or sha256_of(self.path) == self.sha256
        except OSError as error:
            raise TransientError(ErrorCode.INTERNAL, GONE) from error
        if not same:
            raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)


class RecordingStore(Protocol):
    """A store of recordings, such as a bucket or a folder, from which the service reads the audio of tasks."""

    def fetch(self, audio_file_id: str, /) -> AbstractAsyncContextManager[Recording]:
        """Provide a recording as a local file during the `with` block; then delete the file if it is a downloaded copy.

        Raises:
            PermanentError: The recording is missing, too large or unreadable (codes `audio_not_found`,
                `audio_too_large`, `audio_unreadable`).
            TransientError: The recordings cannot be reached, or the temporary folder is full (code `internal`).
        """

    async def delete(self, audio_file_id: str, /) -> None:
        """Delete a recording if it exists and the service may write to the store.

        Raises:
            TransientError: The store cannot be reached (code `internal`).
        """


class Stamp(NamedTuple):
    """Properties of a file that are quicker to read than its content: if none of them has changed, the file has not."""

    inode: int
    size: int  # bytes
    changed_ns: int


def read_stamp(path: Path) -> Stamp:
    """Read the inode, size and modification time of a file."""
    status = path.stat()
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def save(chunks: AsyncIterable[bytes | memoryview], file: BinaryIO, most: int) -> str:
    """Write a recording of up to `most` bytes to a file while it is received, and return its SHA-256 in hex.

    A thread hashes and writes a chunk while the next one is received, so that memory holds two chunks and the event
    loop is not blocked.

    Raises:
        PermanentError: The recording is empty (code `audio_unreadable`) or too large (`audio_too_large`).
    """
    digest, size = hashlib.sha256(), 0

    def process(chunk: bytes | memoryview) -> None:
        digest.update(chunk)
        file.write(chunk)

    processing = asyncio.ensure_future(asyncio.to_thread(process, b""))
    try:
        async for chunk in chunks:
            size += len(chunk)
            check_size(size, most)
            await processing
            processing = asyncio.ensure_future(asyncio.to_thread(process, chunk))
        await processing
    finally:
        await asyncio.wait([processing])  # the file is closed after this
    check_size(size, most)
    await asyncio.to_thread(file.flush)
    return digest.hexdigest()


def is_valid_name(audio_file_id: str) -> bool:
    """Return whether `audio_file_id` is short enough, has only allowed characters, and stays within its store."""
    if _NAME.fullmatch(audio_file_id) is None or len(audio_file_id.encode()) > _MAX_NAME_BYTES:
        return False
    return not {"", ".", ".."} & set(audio_file_id.split("/"))


def check_size(size: int, most: int) -> None:
    """Raise an error if a recording of `size` bytes is empty or larger than `most` bytes.

    Raises:
        PermanentError: The recording is empty (code `audio_unreadable`) or too large (`audio_too_large`).
    """
    if size == 0:
        raise PermanentError(
            ErrorCode.AUDIO_UNREADABLE, "The recording is empty: upload it again, and submit a new task."
        )
    if size > most:
        message = f"The recording has more than {most} bytes (AUDIO_MAX_BYTES): compress it or cut it into parts."
        raise PermanentError(ErrorCode.AUDIO_TOO_LARGE, message)


def not_found(audio_file_id: str, advice: str) -> NoReturn:
    """Raise the error for a recording that its store does not have; `advice` says what the publisher can do.

    Raises:
        PermanentError: Always, with the code `audio_not_found`.
    """
    message = f"No recording is named {audio_file_id[:200]!r}: {advice}."
    raise PermanentError(ErrorCode.AUDIO_NOT_FOUND, message)
