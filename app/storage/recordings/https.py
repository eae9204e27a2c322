"""Recordings on a web server."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import httpx2
import structlog
from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import TransientError
from app.runtime.temporary import report_full_disk, temporary_file
from app.storage.recordings.recording import Recording, check_size, is_valid_name, not_found, save

log = structlog.get_logger()

_CHUNK_BYTES = 1024 * 1024  # hashed and written at once
STALLED_S = 10.0  # a download fails after this time without a byte
_ADVICE = "let the operator put it on the server of recordings, then submit a new task"
_UNREACHABLE = "The recording could not be reached by https: the service tries again."
_REFUSED = "The server of recordings refuses the service: let the operator check its access rules."
_REDIRECTED = "The server of recordings redirects to another address: let the operator correct AUDIO_STORE."


class Https:
    """A store of recordings: a web server, from which the service only reads.

    The URL of each recording begins with the configured address; redirects are not followed.
    """

    def __init__(self, base: str, max_bytes: int) -> None:
        self._base = base
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        """Download a recording from the web server to a temporary file; see `RecordingStore.fetch`."""
        if not is_valid_name(audio_file_id):
            not_found(audio_file_id, _ADVICE)
        async with temporary_file(0) as path:
            yield Recording(path, await self._download(audio_file_id, path))

    async def delete(self, audio_file_id: str, /) -> None:
        """Do nothing: the service only reads from the web server."""

    async def _download(self, audio_file_id: str, path: Path) -> str:
        """Download a recording to the file at `path`, and return its SHA-256 in hex."""
        url = self._base + quote(audio_file_id)
        trust = ssl.create_default_context()
        try:
            async with (
                httpx2.AsyncClient(timeout=STALLED_S, verify=trust) as client,
                client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
            ):
                size = self._size(audio_file_id, response)
                with report_full_disk(size), path.open("wb") as file:
                    return await save(response.aiter_raw(_CHUNK_BYTES), file, self._max_bytes)
        except httpx2.HTTPError as error:
            raise _error(_UNREACHABLE, cause=str(error) or type(error).__name__) from error

    def _size(self, audio_file_id: str, response: httpx2.Response) -> int:
        """Check the response to a download, and return the size of the recording in bytes.

        If the server does not say the size, return 1, so that the recording is not taken for an empty one.

        Raises:
            PermanentError: The recording is missing, too large or empty (codes `audio_not_found`, `audio_too_large`,
                `audio_unreadable`).
            TransientError: The server refuses the request or redirects it (code `internal`).
        """
        status = response.status_code
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            not_found(audio_file_id, _ADVICE)
        if status != HTTPStatus.OK:
            message = _REFUSED if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN} else _UNREACHABLE
            raise _error(_REDIRECTED if response.is_redirect else message, cause=f"status {status}")
        size = int(response.headers.get("Content-Length", 1))
        check_size(size, self._max_bytes)
        return size


def _error(message: str, *, cause: str) -> TransientError:
    log.warning("recordings_access_failed", error=cause)
    return TransientError(ErrorCode.INTERNAL, message)
