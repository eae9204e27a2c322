"""Recordings: their length, and their upload."""

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
from nats.js.api import ObjectMeta, ObjectMetaOptions
from nats.js.errors import NotFoundError, ServiceUnavailableError
from nats.js.object_store import ObjectStore

from app.client.errors import NoJetStreamError, RecordingError, UnreachableError
from schemas.wire import Priority

CHUNK = 512 * 1024  # bytes
SHORT, LONG = 2 * 60, 30 * 60  # seconds


async def length(recording: Path | str) -> float | None:
    """The length of a recording in seconds, None if only the service can read it."""
    return await asyncio.to_thread(_duration, recording) if isinstance(recording, Path) else None


def choose_priority(seconds: float | None) -> Priority:
    """High for short recordings (below 2 min), low for long ones (from 30 min on), else or if unknown normal."""
    if seconds is None:
        return Priority.NORMAL
    if seconds < SHORT:
        return Priority.HIGH
    return Priority.NORMAL if seconds < LONG else Priority.LOW


async def audio_file_id(store: str, recording: Path | str, task_id: str) -> str:
    """The `audio_file_id` of a recording.

    A string is such an id already. If AUDIO_STORE is a bucket, a file gets a new id for each task, because deleting a
    task deletes its recording. If AUDIO_STORE is a folder, the file must be in it.

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
    """Upload a recording if the service does not have it, and return whether its name is new there.

    Raises:
        RecordingError: The upload failed.
        UnreachableError: NATS does not answer about the bucket.
    """
    bucket = await _bucket(js, store, recording)
    if bucket is None or isinstance(recording, str):
        return False
    try:
        before = await _digest_in(bucket, name)
        if before == await asyncio.to_thread(_digest, recording) and not (await bucket.status()).ttl:
            return False  # with a TTL it may be deleted before the task starts: upload it again
        meta = ObjectMeta(name=name, options=ObjectMetaOptions(max_chunk_size=CHUNK))
        with await asyncio.to_thread(recording.open, "rb") as file:
            await bucket.put(name, file, meta)
    except (nats.errors.Error, OSError) as error:
        message = f"{recording.name} could not be uploaded ({error}): try again."
        raise RecordingError(message) from error
    return before is None


async def withdraw(js: JetStreamContext, store: str, name: str) -> None:
    """Delete an upload that no task needs."""
    with suppress(nats.errors.Error):
        await (await js.object_store(urlsplit(store).netloc)).delete(name)


async def differs(js: JetStreamContext, store: str, recording: Path | str, name: str) -> bool:
    """Whether the service has another recording with this name; False if it has none.

    Raises:
        UnreachableError: NATS does not answer about the bucket.
    """
    bucket = await _bucket(js, store, recording)
    if bucket is None or isinstance(recording, str):
        return False
    found = await _digest_in(bucket, name)
    return found is not None and found != await asyncio.to_thread(_digest, recording)


async def _bucket(js: JetStreamContext, store: str, recording: Path | str) -> ObjectStore | None:
    """The bucket for a recording, None if it needs no upload.

    Raises:
        UnreachableError: NATS does not answer about the bucket.
    """
    url = urlsplit(store)
    if isinstance(recording, str) or url.scheme == "file":
        return None
    try:
        return await js.object_store(url.netloc)
    except NotFoundError as error:
        message = f"NATS has no bucket {url.netloc!r}: start the service, which creates it, or correct AUDIO_STORE."
        raise UnreachableError(message) from error
    except ServiceUnavailableError as error:
        raise NoJetStreamError from error
    except nats.errors.Error as error:
        message = f"NATS does not answer about the bucket {url.netloc!r}: try again in a moment."
        raise UnreachableError(message) from error


async def _digest_in(bucket: ObjectStore, name: str) -> str | None:
    try:
        return (await bucket.get_info(name)).digest
    except NotFoundError:
        return None


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
    """What is wrong with a file, in a sentence, or None."""
    if recording.is_dir():
        return f"{recording} is a folder: name the recordings in it."
    if not recording.exists():
        return f"There is no file {recording}: check the name."
    if not recording.is_file():
        return f"{recording} is not a regular file: save it as a file first."
    return f"{recording} is empty: record it again." if not recording.stat().st_size else None
