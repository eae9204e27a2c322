"""Recordings in a bucket of S3, or of another server with the S3 protocol."""

import asyncio
import re
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, Final

import structlog
from natscribe.s3 import connect, lacks_credentials
from natscribe.schemas.errors import ErrorCode
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from app.runtime.cancellation import discard_all
from app.runtime.errors import PermanentError, TransientError
from app.runtime.temporary import report_full_disk, temporary_file
from app.settings import Settings
from app.storage.recordings.recording import REPLACED, Recording, check_size, is_valid_name, not_found, save

if TYPE_CHECKING:  # the library has this type for type checkers alone
    from obstore import GetOptions, GetResult

log = structlog.get_logger()

PIECE_BYTES: Final = 8 * 1024 * 1024  # of a recording, in one request
_PIECES_AHEAD: Final = 2  # pieces that are requested while another one is hashed and written
_EMPTY: Final = "416"  # status: the object has no byte of the requested range
STALLED_S = 10.0  # a request fails after this time without a byte
_REASONS = re.compile(
    r"(?<=status code: )\d{3}|(?<=<Code>)\w{1,64}(?=</Code>)"
    r"|Received redirect[\w ,]*|HTTP error: [a-z ]*|(?<=kind: )[A-Z]\w*"
)
_DELETED_WITHIN_S = 4.0  # less than the five seconds that clients wait for a reply


class S3:
    """A store of recordings: a bucket of S3, or of a server with the S3 protocol."""

    def __init__(self, settings: Settings) -> None:
        stalled, whole = timedelta(seconds=STALLED_S), timedelta(seconds=settings.task_timeout)
        self._store = connect(settings, within=whole, stalled=stalled)
        self._max_bytes = settings.audio_max_bytes

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        """Download a recording from S3 to a temporary file; see `RecordingStore.fetch`."""
        first = await self._find(audio_file_id)
        size = first.meta["size"]
        check_size(size, self._max_bytes)
        async with temporary_file(size) as path:
            with report_full_disk(size), path.open("wb") as file:
                digest = await self._download(audio_file_id, first, file)
            yield Recording(path, digest)

    async def delete(self, audio_file_id: str, /) -> None:
        """Delete a recording from S3; see `RecordingStore.delete`."""
        if not is_valid_name(audio_file_id):
            return
        try:
            async with asyncio.timeout(_DELETED_WITHIN_S):
                await self._store.delete_async(audio_file_id)
        except FileNotFoundError as error:
            _check_bucket(error)
        except (BaseError, OSError) as error:
            raise _explain(error) from error

    async def _find(self, audio_file_id: str) -> "GetResult":
        """Request the first piece of a recording, and return the response, whose body is transferred only when read.

        Raises:
            PermanentError: The recording is missing or empty, or its name is invalid.
            TransientError: S3 cannot be reached, or refuses the request.
        """
        if not is_valid_name(audio_file_id):
            not_found(audio_file_id, _ADVICE)
        try:
            return await self._store.get_async(audio_file_id, options={"range": (0, PIECE_BYTES)})
        except FileNotFoundError as error:
            _check_bucket(error)
            not_found(audio_file_id, _ADVICE)
        except (BaseError, OSError) as error:
            if _EMPTY in _reason(error):
                check_size(0, self._max_bytes)
            raise _explain(error) from error

    async def _download(self, audio_file_id: str, first: "GetResult", file: BinaryIO) -> str:
        """Write a recording to `file`, and return its SHA-256 in hex.

        `first`: the response with the first piece of the recording.
        """
        try:
            async with aclosing(self._pieces(audio_file_id, first)) as pieces:
                return await save(pieces, file, self._max_bytes)
        except (BaseError, FileNotFoundError) as error:
            if await self._was_replaced(audio_file_id, first):
                raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED) from error
            raise _explain(error) from error

    async def _pieces(self, audio_file_id: str, first: "GetResult") -> AsyncGenerator[memoryview]:
        """Yield the pieces of a recording in order, while the next _PIECES_AHEAD pieces are already being received.

        `first`: the response with the first piece. After a lost connection the library resumes after the last received
        byte, unless the recording was replaced.
        """
        size, e_tag = first.meta["size"], first.meta["e_tag"]

        async def read(start: int) -> memoryview:
            options: GetOptions = {"range": (start, min(start + PIECE_BYTES, size)), "if_match": e_tag}
            piece = first if start == 0 else await self._store.get_async(audio_file_id, options=options)
            return memoryview(await piece.bytes_async())

        reading: deque[asyncio.Task[memoryview]] = deque()
        try:
            for start in range(0, size, PIECE_BYTES):
                reading.append(asyncio.create_task(read(start)))
                if len(reading) > _PIECES_AHEAD:
                    yield await reading.popleft()
            while reading:
                yield await reading.popleft()
        finally:
            await discard_all(reading)

    async def _was_replaced(self, audio_file_id: str, first: "GetResult") -> bool:
        try:
            current = await self._store.head_async(audio_file_id)
        except (BaseError, OSError):
            return False
        return current["e_tag"] != first.meta["e_tag"]


_ADVICE = "upload it to the service's bucket in S3, then submit a new task"


def _check_bucket(error: FileNotFoundError) -> None:
    """Raise a TransientError if S3 did not find the bucket; return if it did not find a recording in the bucket."""
    if "NoSuchBucket" in str(error):
        message = "The service's bucket in S3 is missing: let the operator create it, or correct AUDIO_STORE."
        raise TransientError(ErrorCode.INTERNAL, message) from error


def _reason(error: Exception) -> str:
    """Return the reason in an error of the S3 library, without the URL, which contains the name of the recording."""
    return ", ".join(dict.fromkeys(_REASONS.findall(str(error)))) or type(error).__name__


def _explain(error: Exception) -> TransientError:
    log.warning("recordings_access_failed", error=_reason(error))
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        message = (
            "S3 refuses the service: let the operator check its credentials and its rights (docs/recordings.md). "
            "Without the right to list the bucket, S3 also says so of a recording that is missing."
        )
    elif lacks_credentials(error):
        message = (
            "The service has no credentials for S3: let the operator set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    else:
        message = "The recording could not be reached in S3: the service tries again."
    return TransientError(ErrorCode.INTERNAL, message)
