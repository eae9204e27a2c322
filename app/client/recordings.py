"""Recordings: how long they are, and how they get to where the service reads them."""

import asyncio
import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import av
import nats.errors
from nats.js import JetStreamContext
from nats.js.api import ObjectMeta, ObjectMetaOptions
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from app.client.errors import RecordingError, UnreachableError
from schemas.wire import Priority

CHUNK = 512 * 1024  # bytes
SHORT, LONG = 2 * 60, 30 * 60  # seconds


async def choose_priority(recording: Path | str) -> Priority:
    """Short recordings (below 2 min) go ahead, long ones (from 30 min on) behind; unknown length is normal."""
    if isinstance(recording, str):
        return Priority.NORMAL
    seconds = await asyncio.to_thread(_duration, recording)
    if seconds is None:
        return Priority.NORMAL
    if seconds < SHORT:
        return Priority.HIGH
    return Priority.NORMAL if seconds < LONG else Priority.LOW


async def hand_over(js: JetStreamContext, store: str, recording: Path | str, task_id: str) -> str:
    """Make a recording readable for the service and return its `audio_file_id` (RecordingError, UnreachableError).

    A string is such an id already. A file is uploaded where AUDIO_STORE is a bucket, under a name of the task's own: to
    delete a task deletes its recording. Where AUDIO_STORE is a folder, the file has to lie in it.
    """
    if isinstance(recording, str):
        return recording
    if not await asyncio.to_thread(recording.is_file):
        message = f"There is no file {recording}: check the name."
        raise RecordingError(message)
    url = urlsplit(store)
    if url.scheme == "file":
        return await asyncio.to_thread(_place_in, Path(unquote(url.path)), recording)
    try:
        return await _upload(await js.object_store(url.netloc), recording, task_id)
    except NotFoundError as error:
        message = f"NATS has no bucket {url.netloc!r}: start the service once, it makes it, or correct AUDIO_STORE."
        raise UnreachableError(message) from error
    except (nats.errors.Error, OSError) as error:
        message = f"{recording.name} could not be uploaded ({error}): try again."
        raise RecordingError(message) from error


async def _upload(bucket: ObjectStore, recording: Path, task_id: str) -> str:
    digest = await asyncio.to_thread(_digest, recording)
    safe = re.sub(r"[^\w.-]+", "_", recording.name)[-80:]
    name = f"{task_id}-{safe}"
    if not await _is_there(bucket, name, digest):
        meta = ObjectMeta(name=name, options=ObjectMetaOptions(max_chunk_size=CHUNK))
        with await asyncio.to_thread(recording.open, "rb") as file:
            await bucket.put(name, file, meta)
    return name


async def _is_there(bucket: ObjectStore, name: str, digest: bytes) -> bool:
    if (await bucket.status()).ttl:
        return False  # what is there may go before the task is served: put it there anew
    try:
        found = await bucket.get_info(name)
    except NotFoundError:
        return False
    return found.digest == f"SHA-256={base64.urlsafe_b64encode(digest).decode()}"


def _digest(recording: Path) -> bytes:
    with recording.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


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
