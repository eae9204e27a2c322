"""Uploads recordings to a NATS Object Store bucket."""

import asyncio
import base64
import io
from contextlib import suppress
from functools import partial
from pathlib import Path
from uuid import uuid4

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions, PubAck
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError
from nats.js.object_store import ObjectStore

from natscribe.client.errors import (
    NoJetStreamError,
    RecordingError,
    StorageFullError,
    StorageStoppedError,
    UnreachableError,
)
from natscribe.client.stores import RecordingReader, UploadCallback, sha256_of
from natscribe.jetstream.error_codes import STORAGE_FULL, STORE_FAILED
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S, RETRY_FOR_S, retry_until_reply

RETRY_UPLOAD_FOR_S = RETRY_FOR_S  # how long an upload publishes an unacknowledged message again
CHUNK_BYTES = 512 * 1024  # bytes of an object in one message of the upload


class RetryingPublisher(JetStreamContext):
    """A JetStream context that repeats each publish until it is acknowledged, for up to RETRY_UPLOAD_FOR_S seconds.

    For some seconds after the loss of a server, the stream of the bucket may have no leader to acknowledge a message.
    """

    async def publish(  # noqa: PLR0913, PLR0917 -- the parameters of nats-py
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float | None = None,
        stream: str | None = None,
        headers: dict[str, str] | None = None,
        msg_ttl: float | None = None,
    ) -> PubAck:
        """Publish a message; JetStream stores it once, even if it is published again after a lost acknowledgement.

        `timeout`: how many seconds to wait for an acknowledgement before the message is published again.

        Raises:
            NatsError: JetStream has not acknowledged the message for RETRY_UPLOAD_FOR_S, or refuses it.
        """
        deduplicated = (headers or {}) | {"Nats-Msg-Id": uuid4().hex}
        publish = partial(super().publish, subject, payload, timeout, stream, deduplicated, msg_ttl)
        return await retry_until_reply(publish, within_s=RETRY_UPLOAD_FOR_S, final=STORAGE_FULL)


class Bucket:
    """The NATS Object Store bucket in which recordings are stored."""

    def __init__(self, js: JetStreamContext, name: str, on_upload: UploadCallback | None = None) -> None:
        self._js = js
        self._name = name
        self._on_upload = on_upload

    async def upload(self, recording: Path, name: str, /) -> bool:
        """Upload a recording as the object `name`, unless this object already has the same content.

        An object with other content is replaced, and so is an object that lacks chunks or may expire. Return True if
        the bucket had no object with this name before; for exceptions see `Store.upload`.
        """
        bucket = await self._open()
        try:
            before = await retry_until_reply(partial(_object_in, bucket, name))
            digest = await asyncio.to_thread(_digest, recording)
            if before is not None and before.digest == digest and await self._is_reusable(bucket, before):
                return False
            meta = ObjectMeta(name=name, options=ObjectMetaOptions(max_chunk_size=CHUNK_BYTES))
            source = await asyncio.to_thread(RecordingReader, recording, self._on_upload)
            with io.BufferedReader(source) as file:
                await bucket.put(name, file, meta)
        except (nats.errors.Error, OSError) as error:
            await self._raise_if_full(error, recording.name)
            what = f"{recording.name} could not be uploaded ({error})"
            raise RecordingError(what, "try again") from error
        return before is None

    async def check(self) -> None:
        """Check that JetStream stores messages of the bucket: store a message of one byte, and purge it.

        Raises:
            StorageFullError: JetStream has no room left, or its disk was full and NATS has not been restarted yet.
            UnreachableError: NATS does not reply to requests about the bucket.
        """
        await self._open()
        subject = f"$O.{self._name}.C.{uuid4().hex}"
        try:
            await JetStreamContext.publish(self._js, subject, b"?", REQUEST_TIMEOUT_S)
        except nats.errors.Error as error:
            await self._raise_if_full(error, "recordings")
            raise self._no_reply() from error
        with suppress(nats.errors.Error):  # the message then expires with the recordings
            await self._js.purge_stream(f"OBJ_{self._name}", subject=subject)

    async def _raise_if_full(self, error: Exception, what: str) -> None:
        """Raise a StorageFullError if `error` means that JetStream has no room left or has stopped storing.

        `error`: raised by an attempt to store something. `what`: how the message names that thing, e.g. "recordings".

        Raises:
            StorageFullError: JetStream has no room left, or its disk was full and NATS has not been restarted yet.
        """
        if isinstance(error, APIError) and error.err_code in STORAGE_FULL:
            full = f"NATS has no room for {what}"
            raise StorageFullError(full) from error
        is_certain = isinstance(error, APIError) and error.err_code == STORE_FAILED
        if is_certain or isinstance(error, nats.errors.TimeoutError):
            with suppress(nats.errors.Error):
                await self._js.stream_info(f"OBJ_{self._name}")  # if the leader answers, only storing fails
                raise StorageStoppedError(what, is_certain=is_certain) from error

    async def delete(self, name: str, /) -> None:
        """Delete the recording with this name; errors are ignored, and the recording then stays stored."""
        with suppress(nats.errors.Error):
            await (await self._js.object_store(self._name)).delete(name)

    async def differs(self, recording: Path, name: str, /) -> bool:
        """Whether the object `name` in the bucket has other content than `recording`; False if it does not exist."""
        bucket = await self._open()
        try:
            stored = await _object_in(bucket, name)
        except nats.errors.Error as error:
            raise self._no_reply() from error
        return stored is not None and stored.digest != await asyncio.to_thread(_digest, recording)

    async def _open(self) -> ObjectStore:
        try:
            return await self._js.object_store(self._name)
        except NotFoundError as error:
            missing = f"NATS has no bucket {self._name!r}"
            next_step = (
                "start the service, which creates it, or wait if it is just starting. If the service has another "
                "AUDIO_STORE, set AUDIO_STORE here to the same value. If that is a folder, you can also put the file "
                "there and name it with --stored"
            )
            raise UnreachableError(missing, next_step) from error
        except nats.errors.Error as error:
            if isinstance(error, ServiceUnavailableError) and error.err_code is None:  # there was no responder
                raise NoJetStreamError from error
            raise self._no_reply() from error

    def _no_reply(self) -> UnreachableError:
        return UnreachableError(f"NATS does not answer about the bucket {self._name!r}", "try again in a moment")

    async def _is_reusable(self, bucket: ObjectStore, stored: ObjectInfo) -> bool:
        """Whether a task can use the stored object: its chunks exist, and objects in the bucket do not expire.

        Chunks may be missing because nats-py's `put` purges them if the metadata was stored but not acknowledged. In a
        bucket with a TTL, the object might expire before the task starts.
        """
        if (await bucket.status()).ttl:
            return False
        chunks = f"$O.{stored.bucket}.C.{stored.nuid}"
        info = await self._js.stream_info(f"OBJ_{stored.bucket}", subjects_filter=chunks)
        return (info.state.subjects or {}).get(chunks, 0) == (stored.chunks or 0)


async def _object_in(bucket: ObjectStore, name: str) -> ObjectInfo | None:
    try:
        return await bucket.get_info(name)
    except NotFoundError:
        return None


def _digest(recording: Path) -> str:
    return f"SHA-256={base64.urlsafe_b64encode(bytes.fromhex(sha256_of(recording))).decode()}"
