"""Recordings in a folder."""

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import TransientError
from app.storage.recordings.recording import Recording, check_size, not_found, read_stamp, sha256_of


class Folder:
    """A store of recordings: a folder that this service only reads."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        """Provide the path of a recording in the folder, without making a copy; see `RecordingStore.fetch`."""
        yield await asyncio.to_thread(self._find, audio_file_id)

    async def delete(self, audio_file_id: str, /) -> None:
        """Do nothing: the service only reads the folder."""

    def _find(self, audio_file_id: str) -> Recording:
        try:
            path = (self._root / audio_file_id).resolve(strict=True)
            inside = not Path(audio_file_id).is_absolute() and path.is_relative_to(self._root.resolve())
            exists = inside and stat.S_ISREG(path.stat().st_mode)
        except (OSError, ValueError, RuntimeError):
            exists = False
        if not exists and not self._root.is_dir():
            message = (
                "The service's folder of recordings is missing: let the operator mount it, or correct AUDIO_STORE."
            )
            raise TransientError(ErrorCode.INTERNAL, message)
        if not exists:
            not_found(audio_file_id, "put it into the service's folder first")
        return self._read(path)

    def _read(self, path: Path) -> Recording:
        try:
            stamp = read_stamp(path)
            check_size(stamp.size, self._max_bytes)
            return Recording(path, sha256_of(path), stamp)
        except OSError as error:
            message = "The recording cannot be read from the service's folder: let the operator check its permissions."
            raise TransientError(ErrorCode.INTERNAL, message) from error
