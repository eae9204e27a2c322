"""The interface of stores to which the client uploads recordings, and a reader that reports the progress."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from typing_extensions import Buffer

UploadCallback = Callable[[Path, int], None]  # called with a recording, and the number of bytes that were read
_CHUNK_BYTES = 1024 * 1024


class Store(Protocol):
    """Interface of a store to which the client uploads recordings; `Bucket` (NATS) and `S3` implement it."""

    async def upload(self, recording: Path, name: str, /) -> bool:
        """Upload a recording as the object `name`, unless this object already has the same content.

        An object with other content is replaced. Return True if the store had no object with this name before.

        Raises:
            RecordingError: The upload failed.
            StorageFullError: JetStream has no room for the recording.
            UnreachableError: The store does not reply.
        """
        ...

    async def delete(self, name: str, /) -> None:
        """Delete an uploaded recording that no task needs; errors are ignored, and the recording then stays stored."""
        ...

    async def differs(self, recording: Path, name: str, /) -> bool:
        """Whether the object `name` in the store has other content than `recording`; False if it does not exist.

        Raises:
            UnreachableError: The store does not reply.
        """
        ...


class RecordingReader(io.FileIO):
    """A file reader for uploads, which calls `on_upload` after each read, in the thread that reads.

    Wrap it in an `io.BufferedReader`, which only calls `readinto`. The arguments of `on_upload` are the path of the
    recording and the number of bytes read so far.
    """

    def __init__(self, recording: Path, on_upload: UploadCallback | None) -> None:
        super().__init__(recording)
        self._recording = recording
        self._on_upload = on_upload

    def readinto(self, buffer: Buffer, /) -> int:
        """Read bytes into a buffer; return how many were read."""
        count = super().readinto(buffer)
        if self._on_upload is not None:
            self._on_upload(self._recording, self.tell())
        return count


def sha256_of(recording: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with recording.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
