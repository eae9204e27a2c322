"""Recordings in a bucket of the NATS Object Store."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ObjectInfo
from nats.js.errors import BucketNotFoundError, NotFoundError
from natscribe.jetstream.repeated_requests import retry_until_reply
from natscribe.schemas.errors import ErrorCode

from app.runtime.errors import TransientError
from app.runtime.temporary import is_disk_full, report_full_disk, temporary_file
from app.storage.jetstream import objects
from app.storage.recordings.recording import Recording, check_size, not_found


class Bucket:
    """A store of recordings: a bucket of the NATS Object Store."""

    def __init__(self, bucket: str, max_bytes: int, nats: Client) -> None:
        self._bucket = bucket
        self._max_bytes = max_bytes
        self._nats = nats
        self._jetstream = nats.jetstream()

    @asynccontextmanager
    async def fetch(self, audio_file_id: str, /) -> AsyncIterator[Recording]:
        """Download a recording from the bucket to a temporary file; see `RecordingStore.fetch`."""
        info = await self._info(audio_file_id)
        size = info.size or 0
        check_size(size, self._max_bytes)
        async with temporary_file(size) as path:
            with report_full_disk(size), path.open("wb") as file, _explained_errors():  # closing the file writes, too
                digest = await objects.download(self._nats, self._bucket, info, file.write)
                await asyncio.to_thread(file.flush)
            yield Recording(path, digest.hex())

    async def delete(self, audio_file_id: str, /) -> None:
        """Delete a recording from the bucket; see `RecordingStore.delete`."""
        with _explained_errors(), suppress(NotFoundError):
            await objects.delete(self._jetstream, self._bucket, audio_file_id)

    async def _info(self, audio_file_id: str) -> ObjectInfo:
        with _explained_errors():
            try:
                store = await retry_until_reply(partial(self._jetstream.object_store, self._bucket))
                info = await retry_until_reply(partial(store.get_info, audio_file_id))
            except BucketNotFoundError as error:
                message = f"The bucket {self._bucket!r} is missing: restart the service, which creates the bucket."
                raise TransientError(ErrorCode.INTERNAL, message) from error
            except NotFoundError:
                not_found(audio_file_id, f"upload it to the bucket {self._bucket!r}, then submit a new task")
        if info.is_link():
            not_found(audio_file_id, "upload the recording itself, not a link")
        return info


@contextmanager
def _explained_errors() -> Iterator[None]:
    """Convert an error of NATS or of the connection into a TransientError, but not the error of a full disk."""
    try:
        yield
    except (NatsError, OSError) as error:
        if is_disk_full(error):
            raise
        message = "The recording could not be reached in NATS: the service tries again."
        raise TransientError(ErrorCode.INTERNAL, message) from error
