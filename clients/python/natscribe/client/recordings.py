"""Determines the duration, priority, task id and name in AUDIO_STORE of a recording to be submitted."""

import asyncio
import os
import re
import secrets
import unicodedata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from nats.aio.client import Client

from natscribe.client.bucket import Bucket, RetryingPublisher
from natscribe.client.errors import OptionError, RecordingError
from natscribe.client.stores import Store, UploadCallback
from natscribe.schemas.wire import Priority
from natscribe.settings import Settings

_RESERVED = frozenset('\\/:*?"<>|')
HIGH_BELOW_S, LOW_FROM_S = 2 * 60, 30 * 60  # durations that decide the priority

_LETTERS = dict(zip("абвгдеёзийклмнопрстуфыэ", "abvgdeeziiklmnoprstufye", strict=True))
_LETTERS |= dict(zip("жхцчшщъьюя", ("zh", "kh", "ts", "ch", "sh", "shch", "ie", "", "iu", "ia"), strict=True))
_RUSSIAN = str.maketrans(_LETTERS | {letter.upper(): latin.capitalize() for letter, latin in _LETTERS.items()})


def upload_store(settings: Settings, connection: Client, on_upload: UploadCallback | None = None) -> Store | None:
    """Return the store to which clients upload recordings; None if AUDIO_STORE is a folder or a web server.

    `on_upload` is called in another thread while a recording is uploaded, with its path and the number of bytes that
    have been read so far.
    """
    where = urlsplit(settings.audio_store)
    match where.scheme:
        case "nats":
            return Bucket(RetryingPublisher(connection), where.netloc, on_upload)
        case "s3":
            from natscribe.client.s3 import S3  # noqa: PLC0415 -- its library is an optional extra

            return S3(settings, on_upload)
    return None


def new_task_id(recording: Path | str) -> str:
    """Generate a readable task id: the name of the recording and eight random hexadecimal digits.

    Russian letters are transliterated as in passports (ICAO 9303), and accents are removed.
    """
    latin = unicodedata.normalize("NFKD", Path(recording).stem.translate(_RUSSIAN))
    plain = "".join(letter for letter in latin if not unicodedata.combining(letter))
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-")[:40] or "task"
    return f"{readable}-{secrets.token_hex(4)}"


async def recording_duration(recording: Path | str) -> float | None:
    """Return the duration of a local recording in seconds; None if it cannot be determined.

    If `recording` is a string, it is the `audio_file_id` of a stored recording, whose duration the client cannot read.
    """
    return await asyncio.to_thread(_duration, recording) if isinstance(recording, Path) else None


def choose_priority(seconds: float | None) -> Priority:
    """Return the default priority of a recording by its duration in seconds.

    `high` below 2 min, `low` from 30 min on, and `normal` in between or if the duration is unknown (None).
    """
    if seconds is None:
        return Priority.NORMAL
    if seconds < HIGH_BELOW_S:
        return Priority.HIGH
    return Priority.NORMAL if seconds < LOW_FROM_S else Priority.LOW


async def audio_file_id(settings: Settings, recording: Path | str, task_id: str) -> str:
    """Return the name that a recording has, or will have after its upload, in AUDIO_STORE.

    A string is such a name already, and is returned unchanged. A `Path` that the client uploads gets a name of its own
    for each task, because deleting a task deletes its recording. If AUDIO_STORE is a folder, the file must be in it.

    Raises:
        RecordingError: The file cannot be read, is empty, too large or not in the folder, or AUDIO_STORE is read-only.
        OptionError: `recording` is a string, but a local file has this path: pass a `Path` to upload it.
    """
    if isinstance(recording, str):
        if await asyncio.to_thread(_is_path, settings, recording):
            message = f"{recording} is a file here, and a string names a stored recording: pass Path({recording!r})"
            raise OptionError(message)
        return recording
    if (problem := await asyncio.to_thread(file_problem, recording, settings.audio_max_bytes)) is not None:
        raise problem
    url = urlsplit(settings.audio_store)
    if url.scheme == "file":
        return await asyncio.to_thread(_path_in, Path(unquote(url.path)), recording)
    if url.scheme == "https":
        store = settings.audio_store
        what = f"AUDIO_STORE ({store}) can only be read"
        raise RecordingError(what, f"put {recording.name} there, and name it with --stored")
    return f"{task_id}-{_safe_name(recording.name)}"


def _safe_name(name: str) -> str:
    """Return at most the last 80 characters of a file name, with underscores in place of what is no part of a name.

    These are control and invisible characters, and those that are reserved in paths on some system.
    """
    letters = unicodedata.normalize("NFC", name)
    return "".join("_" if not letter.isprintable() or letter in _RESERVED else letter for letter in letters)[-80:]


def _is_path(settings: Settings, name: str) -> bool:
    """Whether a string is the path of a local file, and not the name of a stored recording.

    It is a path if it contains a slash and such a file exists. But if names in AUDIO_STORE may contain a slash, a
    relative path is always taken for a name.
    """
    in_store = not os.path.isabs(name) and settings.audio_store.startswith(("file:", "https:"))  # noqa: PTH117
    return "/" in name and not in_store and os.path.isfile(name)  # noqa: PTH113 -- of any string, without an error


def _duration(recording: Path) -> float | None:
    try:
        from tinytag import TinyTag, TinyTagException  # noqa: PLC0415 -- part of the extra `command`
    except ImportError:
        return None
    try:
        return TinyTag.get(recording, tags=False).duration or None
    except (TinyTagException, OSError, ValueError):
        return None


def _path_in(root: Path, recording: Path) -> str:
    try:
        return recording.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        what = f"{recording.name} is not in AUDIO_STORE ({root})"
        raise RecordingError(what, "copy it there first") from error


def file_problem(recording: Path, max_bytes: int) -> RecordingError | None:
    """Return the error that says why a file cannot be submitted as a recording; None if it can.

    `max_bytes`: the largest size of a recording.
    """
    if recording.is_dir():
        return RecordingError(f"{recording} is a folder", "name the recordings in it")
    if not recording.exists():
        return RecordingError(f"There is no file {recording}", "check the name")
    if not recording.is_file():
        return RecordingError(f"{recording} is not a regular file", "save it as a file first")
    if not os.access(recording, os.R_OK):
        return RecordingError(f"{recording} cannot be read", "change its permissions")
    size = recording.stat().st_size
    if size > max_bytes:
        return RecordingError(
            f"{recording} has {size} bytes, and AUDIO_MAX_BYTES is {max_bytes}",
            "compress it or cut it into parts. If the service allows more, set AUDIO_MAX_BYTES here to the same value",
        )
    return None if size else RecordingError(f"{recording} is empty", "record it again")
