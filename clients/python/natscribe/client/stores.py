"""Stores, to which the client uploads recordings."""

import hashlib
from pathlib import Path
from typing import Protocol

_CHUNK_BYTES = 1024 * 1024


class Store(Protocol):
    """A store to which the client uploads recordings."""

    async def upload(self, recording: Path, name: str, /) -> bool:
        """Upload a recording, unless the store has it; return True if the store had nothing with this name.

        Raises:
            RecordingError: The upload failed.
            UnreachableError: The store does not answer.
        """
        ...

    async def withdraw(self, name: str, /) -> None:
        """Delete an uploaded recording that no task needs; if that fails, the recording stays."""
        ...

    async def differs(self, recording: Path, name: str, /) -> bool:
        """Whether the store has a different recording with this name; False if the store has none.

        Raises:
            UnreachableError: The store does not answer.
        """
        ...


def sha256_of(recording: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with recording.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
