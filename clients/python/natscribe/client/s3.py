"""Uploads recordings to an S3 bucket."""

import asyncio
import io
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from typing_extensions import Buffer

from natscribe.client.errors import RecordingError, UnreachableError
from natscribe.client.stores import RecordingReader, UploadCallback, sha256_of
from natscribe.s3 import connect, lacks_credentials
from natscribe.settings import Settings

if TYPE_CHECKING:  # the library has this type for type checkers alone
    from obstore import PutResult

_PART_BYTES = 5 * 1024 * 1024  # S3 allows 10,000 parts of at least this size
_CONCURRENT_PARTS = 4
_PART_TIMEOUT_S = 300.0
_CLEAN_UP_S = 10.0  # limit for removing the parts of a cancelled upload
_SHA256 = "sha256"  # field of an object's metadata


class S3:
    """A store of recordings in an S3 bucket; the metadata of each object contains the recording's SHA-256."""

    def __init__(self, settings: Settings, on_upload: UploadCallback | None = None) -> None:
        self._on_upload = on_upload
        self._store = connect(settings, within=timedelta(seconds=_PART_TIMEOUT_S))

    async def upload(self, recording: Path, name: str, /) -> bool:
        """Upload a recording as the object `name`, unless this object already has the same content.

        An object with other content is replaced. Return True if the bucket had no object with this name before; for
        exceptions see `Store.upload`.
        """
        digest = await asyncio.to_thread(sha256_of, recording)
        before = await self._digest(name)
        if before == digest:
            return False
        try:
            await self._put(recording, name, digest)
        except (BaseError, OSError) as error:
            what, next_step = _reason(error)
            message = f"{recording.name} could not be uploaded. {what}"
            raise RecordingError(message, next_step) from error
        return before is None

    async def delete(self, name: str, /) -> None:
        """Delete the recording with this name; errors are ignored, and the recording then stays stored."""
        with suppress(BaseError, OSError):
            await self._store.delete_async(name)

    async def differs(self, recording: Path, name: str, /) -> bool:
        """Whether the object `name` in the bucket has other content than `recording`; False if it does not exist."""
        digest = await self._digest(name)
        return digest is not None and digest != await asyncio.to_thread(sha256_of, recording)

    async def _digest(self, name: str) -> str | None:
        """Return the SHA-256 in an object's metadata, in hexadecimal.

        None: there is no such object. An empty string: its metadata has no SHA-256.
        """
        try:
            head = await self._store.get_async(name, options={"head": True})
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise UnreachableError(*_reason(error)) from error
        return head.attributes.get(_SHA256, "")

    async def _put(self, recording: Path, name: str, digest: str) -> None:
        """Upload a recording in parts; the object appears under its name when all parts are complete.

        A cancelled upload reads no further part, and the library removes the parts that it has sent.
        """
        reader = await asyncio.to_thread(_CancellableReader, recording, self._on_upload)
        with io.BufferedReader(reader) as file:
            uploading = asyncio.ensure_future(
                self._store.put_async(
                    name,
                    file,
                    attributes={_SHA256: digest},
                    use_multipart=True,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_CONCURRENT_PARTS,
                )
            )
            try:
                await asyncio.shield(uploading)
            except asyncio.CancelledError:
                reader.cancelled = True
                if await _succeeded(uploading):  # all parts had been sent before
                    await self.delete(name)
                raise


class _CancellableReader(RecordingReader):
    """A reader of a recording that fails once `cancelled` is set, so that a cancelled upload stops."""

    cancelled = False

    def readinto(self, buffer: Buffer, /) -> int:
        """Read bytes into a buffer, in a thread of the S3 library; return how many were read.

        Raises:
            OSError: The upload was cancelled.
        """
        if self.cancelled:
            message = "the upload was cancelled"
            raise OSError(message)
        return super().readinto(buffer)


async def _succeeded(uploading: "asyncio.Future[PutResult]") -> bool:
    """Wait for a cancelled upload to end, at most _CLEAN_UP_S seconds; return whether it was completed nevertheless.

    The function waits even if its caller is cancelled again.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + _CLEAN_UP_S
    while not uploading.done() and clock() < deadline:
        with suppress(asyncio.CancelledError):
            await asyncio.wait([uploading], timeout=deadline - clock())
    return uploading.done() and not uploading.cancelled() and uploading.exception() is None


def _reason(error: Exception) -> tuple[str, str]:
    """Return what has failed, and the next step."""
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        return "S3 refuses this user", "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the rights of the user"
    if lacks_credentials(error):
        return "The credentials of S3 are missing", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, FileNotFoundError):
        return "S3 has no such bucket", "let the operator create it, or correct AUDIO_STORE"
    return "S3 does not answer", "try again in a moment, or check AWS_ENDPOINT_URL and AWS_REGION"
