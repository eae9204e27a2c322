"""The store of recordings, where `audio_file_id` names a recording: a bucket of the Object Store or a folder."""

import asyncio
import hashlib
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, Protocol
from urllib.parse import unquote, urlsplit

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ObjectInfo
from nats.js.errors import BucketNotFoundError, NotFoundError

from app.errors import PermanentError, TransientError
from app.jetstream import objects
from app.settings import Settings
from app.temporary import temporary_file
from schemas.errors import ErrorCode

_FETCHED_AT_ONCE = 32  # chunks, of 128 KiB each
_STALLED_S = 10.0  # a download fails after this time without a chunk

GONE = "The recording disappeared while the task ran: let the operator look at the service's folder."
REPLACED = "The recording was replaced while the task ran: publish it again under a new task id."


@dataclass(frozen=True)
class Recording:
    """A recording in a file on this machine, while a task works on the recording."""

    path: Path
    sha256: str
    stamp: "_Stamp | None" = None  # null: the file is this service's own copy, which nobody changes

    async def check(self) -> None:
        """Check that the recording has not changed since its SHA-256 was computed.

        Raises:
            PermanentError: audio_unreadable: the recording was replaced.
            TransientError: internal: the recording has disappeared.
        """
        if self.stamp is not None:
            await asyncio.to_thread(self._check)

    def _check(self) -> None:
        try:
            same = _stamp(self.path) == self.stamp or _sha256(self.path) == self.sha256
        except OSError as error:
            raise TransientError(ErrorCode.INTERNAL, GONE) from error
        if not same:
            raise PermanentError(ErrorCode.AUDIO_UNREADABLE, REPLACED)


class _Stamp(NamedTuple):
    """Properties of a file that are quick to read: if all of them are the same, the file has not changed."""

    inode: int
    size: int  # bytes
    changed_ns: int


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)


class Recordings(Protocol):
    """Where recordings are kept."""

    def fetch(self, audio_file_id: str, /) -> AbstractAsyncContextManager[Recording]:
        """Provide a recording as a file on this machine until the block ends; a downloaded copy is deleted then.

        Raises:
            PermanentError: audio_not_found, audio_too_large, audio_unreadable.
            TransientError: internal: the recordings cannot be reached.
        """
        ...

    async def delete(self, audio_file_id: str, /) -> None:
        """Delete a recording from the service's bucket, if it is there.

        Raises:
            TransientError: internal: the bucket cannot be reached.
        """
        ...


def recordings_of(settings: Settings, jetstream: JetStreamContext) -> Recordings:
    """Return the store in the setting AUDIO_STORE: a bucket (`nats://bucket`) or a folder (`file:///folder`)."""
    where = urlsplit(settings.audio_store)
    if where.scheme == "file":
        return _Folder(Path(unquote(where.path)), settings.audio_max_bytes)
    return _Bucket(where.netloc, settings.audio_max_bytes, jetstream)


class _Folder:
    """Recordings in a folder that this service only reads."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self._root = root
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        yield await asyncio.to_thread(self._look_up, audio_file_id)

    async def delete(self, audio_file_id: str, /) -> None:
        pass  # the service only reads the folder

    def _look_up(self, audio_file_id: str) -> Recording:
        try:
            path = (self._root / audio_file_id).resolve(strict=True)
            inside = not Path(audio_file_id).is_absolute() and path.is_relative_to(self._root.resolve())
            found = inside and stat.S_ISREG(path.stat().st_mode)
        except (OSError, ValueError, RuntimeError):
            found = False
        if not found and not self._root.is_dir():
            message = (
                "The service's folder of recordings is missing: let the operator mount it, or correct AUDIO_STORE."
            )
            raise TransientError(ErrorCode.INTERNAL, message)
        if not found:
            _not_found(audio_file_id, "put it into the service's folder first")
        return self._checked(path)

    def _checked(self, path: Path) -> Recording:
        try:
            stamp = _stamp(path)
            _check_size(stamp.size, self._max_bytes)
            return Recording(path, _sha256(path), stamp)
        except OSError as error:
            message = "The recording cannot be read from the service's folder: let the operator check its permissions."
            raise TransientError(ErrorCode.INTERNAL, message) from error


class _Bucket:
    """Recordings in a bucket of NATS' Object Store."""

    def __init__(self, bucket: str, max_bytes: int, jetstream: JetStreamContext) -> None:
        self._bucket = bucket
        self._max_bytes = max_bytes
        self._jetstream = jetstream

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        info = await self._info(audio_file_id)
        _check_size(info.size or 0, self._max_bytes)
        async with temporary_file() as path:
            with path.open("wb") as file:
                digest = await self._download(info, file)
            yield Recording(path, digest)

    async def delete(self, audio_file_id: str, /) -> None:
        try:
            await objects.erase(self._jetstream, self._bucket, audio_file_id)
        except NotFoundError:
            return
        except (nats.errors.Error, OSError) as error:
            raise _trouble() from error

    async def _info(self, audio_file_id: str) -> ObjectInfo:
        try:
            store = await self._jetstream.object_store(self._bucket)
            info = await store.get_info(audio_file_id)
        except BucketNotFoundError as error:
            message = f"The bucket {self._bucket!r} is missing: restart the service, which creates the bucket."
            raise TransientError(ErrorCode.INTERNAL, message) from error
        except NotFoundError:
            _not_found(audio_file_id, f"upload it to the bucket {self._bucket!r}, then publish a new task")
        except (nats.errors.Error, OSError) as error:
            raise _trouble() from error
        if info.is_link():
            _not_found(audio_file_id, "upload the recording itself, not a link")
        return info

    async def _download(self, info: ObjectInfo, file: BinaryIO) -> str:
        """Write the object into the file, and return its SHA-256 in hex.

        A thread hashes and writes a few chunks at a time: memory stays flat, and the event loop is not blocked.
        """
        digest = hashlib.sha256()

        def take(messages: list[Msg]) -> int:
            for message in messages:
                digest.update(message.data)
                file.write(message.data)
            return sum(len(message.data) for message in messages)

        try:
            await self._each_batch(info, take)
            await asyncio.to_thread(file.flush)
        except (nats.errors.Error, OSError) as error:
            raise _trouble() from error
        # Some clients write the digest without padding.
        if objects.digest(digest.digest()).rstrip("=") != (info.digest or "").rstrip("="):
            raise _trouble()
        return digest.hexdigest()

    async def _each_batch(self, info: ObjectInfo, take: Callable[[list[Msg]], int]) -> None:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True, inactive_threshold=60)
        chunks, stream = objects.chunks_of(self._bucket, info.nuid or ""), objects.stream_of(self._bucket)
        source = await self._jetstream.pull_subscribe(chunks, stream=stream, config=config)
        try:
            left = info.size or 0
            while left > 0:
                left -= await asyncio.to_thread(take, await source.fetch(_FETCHED_AT_ONCE, timeout=_STALLED_S))
        finally:
            with suppress(nats.errors.Error):  # otherwise the server deletes the idle consumer after 60 s
                await source.unsubscribe()
                await self._jetstream.delete_consumer(stream, config.name or "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_size(size: int, most: int) -> None:
    if size == 0:
        raise PermanentError(
            ErrorCode.AUDIO_UNREADABLE, "The recording is empty: upload it again, and publish a new task."
        )
    if size > most:
        message = f"The recording has more than {most} bytes (AUDIO_MAX_BYTES): compress it or cut it into parts."
        raise PermanentError(ErrorCode.AUDIO_TOO_LARGE, message)


def _not_found(audio_file_id: str, advice: str) -> NoReturn:
    message = f"No recording is named {audio_file_id[:200]!r}: {advice}."
    raise PermanentError(ErrorCode.AUDIO_NOT_FOUND, message)


def _trouble() -> TransientError:
    return TransientError(ErrorCode.INTERNAL, "The recording could not be reached in NATS: the service tries again.")
