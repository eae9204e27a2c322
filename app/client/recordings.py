"""Measures recordings and uploads them."""

import asyncio
import base64
import hashlib
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import ObjectInfo, ObjectMeta, ObjectMetaOptions
from nats.js.errors import NotFoundError, ServiceUnavailableError
from nats.js.object_store import ObjectStore

from app.client.errors import NoJetStreamError, RecordingError, UnreachableError
from app.jetstream.objects import chunks_of, stream_of
from schemas.wire import Priority

CHUNK = 512 * 1024  # bytes of an object in one message of the upload
SHORT, LONG = 2 * 60, 30 * 60  # seconds; a recording below the first is `high`, from the second on `low`


async def length(recording: Path | str) -> float | None:
    """Return the length of a recording in seconds, or None if the client cannot read the recording."""
    return await asyncio.to_thread(_duration, recording) if isinstance(recording, Path) else None


def choose_priority(seconds: float | None) -> Priority:
    """Choose `high` below 2 min, `low` from 30 min on, and `normal` between, or if the length is unknown."""
    if seconds is None:
        return Priority.NORMAL
    if seconds < SHORT:
        return Priority.HIGH
    return Priority.NORMAL if seconds < LONG else Priority.LOW


async def audio_file_id(store: str, recording: Path | str, task_id: str) -> str:
    """Return the `audio_file_id` of a recording; a string is such an id already.

    If AUDIO_STORE is a bucket, each task gets an id of its own for the file, because deleting a task deletes its
    recording. If AUDIO_STORE is a folder, the file must be in this folder.

    Raises:
        RecordingError: The file cannot be read, or is not in the folder.
    """
    if isinstance(recording, str):
        return recording
    if (trouble := await asyncio.to_thread(_trouble, recording)) is not None:
        raise RecordingError(trouble)
    url = urlsplit(store)
    if url.scheme == "file":
        return await asyncio.to_thread(_place_in, Path(unquote(url.path)), recording)
    safe = re.sub(r"[^\w.-]+", "_", recording.name)[-80:]
    return f"{task_id}-{safe}"


async def upload(js: JetStreamContext, store: str, recording: Path | str, name: str) -> bool:
    """Upload a recording, unless the bucket has it; return True if the bucket had no object with this name.

    Raises:
        RecordingError: The upload failed.
        UnreachableError: NATS does not answer about the bucket.
    """
    bucket = await _bucket(js, store, recording)
    if bucket is None or isinstance(recording, str):
        return False
    try:
        before = await _object_in(bucket, name)
        digest = await asyncio.to_thread(_digest, recording)
        if before is not None and before.digest == digest and await _stays(js, bucket, before):
            return False
        meta = ObjectMeta(name=name, options=ObjectMetaOptions(max_chunk_size=CHUNK))
        with await asyncio.to_thread(recording.open, "rb") as file:
            await bucket.put(name, file, meta)
    except (nats.errors.Error, OSError) as error:
        message = f"{recording.name} could not be uploaded ({error}): try again."
        raise RecordingError(message) from error
    return before is None


async def withdraw(js: JetStreamContext, store: str, name: str) -> None:
    """Delete an uploaded recording that no task needs."""
    with suppress(nats.errors.Error):
        await (await js.object_store(urlsplit(store).netloc)).delete(name)


async def differs(js: JetStreamContext, store: str, recording: Path | str, name: str) -> bool:
    """Whether the bucket has a different recording with this name; False if the bucket has none.

    Raises:
        UnreachableError: NATS does not answer about the bucket.
    """
    bucket = await _bucket(js, store, recording)
    if bucket is None or isinstance(recording, str):
        return False
    found = await _object_in(bucket, name)
    return found is not None and found.digest != await asyncio.to_thread(_digest, recording)


async def _bucket(js: JetStreamContext, store: str, recording: Path | str) -> ObjectStore | None:
    """Open the bucket for a recording; return None if the recording needs no upload.

    Raises:
        UnreachableError: NATS does not answer about the bucket.
    """
    url = urlsplit(store)
    if isinstance(recording, str) or url.scheme == "file":
        return None
    try:
        return await js.object_store(url.netloc)
    except NotFoundError as error:
        message = (
            f"NATS has no bucket {url.netloc!r}: start the service, which creates it, or wait if it is just starting. "
            "If the service has another AUDIO_STORE, set AUDIO_STORE here to the same value. If that is a folder, you "
            "can also put the file there and name it with --stored."
        )
        raise UnreachableError(message) from error
    except ServiceUnavailableError as error:
        raise NoJetStreamError from error
    except nats.errors.Error as error:
        message = f"NATS does not answer about the bucket {url.netloc!r}: try again in a moment."
        raise UnreachableError(message) from error


async def _object_in(bucket: ObjectStore, name: str) -> ObjectInfo | None:
    try:
        return await bucket.get_info(name)
    except NotFoundError:
        return None


async def _stays(js: JetStreamContext, bucket: ObjectStore, stored: ObjectInfo) -> bool:
    """Whether an object is whole and stays: in a bucket with a TTL it may expire before the task starts.

    `put` of nats-py removes the chunks of an object whose metadata was stored but not acknowledged.
    """
    if (await bucket.status()).ttl:
        return False
    chunks = chunks_of(stored.bucket, stored.nuid)
    info = await js.stream_info(stream_of(stored.bucket), subjects_filter=chunks)
    return (info.state.subjects or {}).get(chunks, 0) == (stored.chunks or 0)


def _digest(recording: Path) -> str:
    with recording.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return f"SHA-256={base64.urlsafe_b64encode(digest).decode()}"


def _duration(recording: Path) -> float | None:
    try:
        with av.open(str(recording)) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError, ValueError):
        return None


def _place_in(root: Path, recording: Path) -> str:
    try:
        return recording.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        message = f"{recording.name} is not in AUDIO_STORE ({root}): copy it there first."
        raise RecordingError(message) from error


def _trouble(recording: Path) -> str | None:
    """Say what is wrong with a file in one sentence, or return None."""
    if recording.is_dir():
        return f"{recording} is a folder: name the recordings in it."
    if not recording.exists():
        return f"There is no file {recording}: check the name."
    if not recording.is_file():
        return f"{recording} is not a regular file: save it as a file first."
    return f"{recording} is empty: record it again." if not recording.stat().st_size else None
