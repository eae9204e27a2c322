"""Reads results from replies, downloads those that are too large for one, and converts them into file formats."""

import os
from pathlib import Path

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg

from natscribe import formats
from natscribe.client.errors import ClientError, RequestFailedError
from natscribe.client.exchange import is_json, parse_reply
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import RESULT, Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.wire import Object

DEFAULT_LIMITS = SubtitleLimits()


async def result_in(
    connection: Nats, reply: Msg, result_format: ResultFormat, limits: SubtitleLimits
) -> Result | str | bytes:
    """Return the result in a reply: a `Result` for `json`, bytes for a binary format, a string for other formats.

    A result that is too large for a message is downloaded, and converted here.

    Raises:
        ClientError: The result cannot be downloaded, or has an incompatible version.
        RequestFailedError: The format cannot hold this kind of result.
    """
    if not is_json(reply):
        return reply.data.decode() if result_format.is_text else reply.data
    result = parse_reply(RESULT, reply.data)
    if result.object is not None:
        stored = parse_reply(RESULT, await _fetch_object(connection, result.object))
        result = stored.model_copy(update={"voices": result.voices})  # the object has no names
    return result if result_format is ResultFormat.JSON else format_result(result, result_format, limits)


async def _fetch_object(connection: Nats, reference: Object) -> bytes:
    """Download the object to which a result refers, and return its content: the whole result as JSON.

    Raises:
        ClientError: The object cannot be downloaded.
    """
    try:
        bucket = await connection.jetstream().object_store(reference.bucket)
        return (await bucket.get(reference.name)).data or b""
    except nats.errors.Error as error:
        what = f"The result is in the bucket {reference.bucket!r} and could not be fetched"
        raise ClientError(what, "try again in a moment") from error


async def download_audio(connection: Nats, reference: Object, path: Path) -> None:
    """Write the object to which `redacted_audio` of a result refers to a file.

    Raises:
        ClientError: The object cannot be downloaded, or the file cannot be written.
    """
    if not path.name:
        what = f"{path} is no file"
        raise ClientError(what, "name a file in it")
    part = path.with_name(f"{path.name}.part")
    try:
        bucket = await connection.jetstream().object_store(reference.bucket)
        with part.open("wb") as file:
            await bucket.get(reference.name, writeinto=file)
        part.replace(path)
    except nats.errors.Error as error:
        what = "The redacted recording could not be fetched"
        raise ClientError(what, "try again in a moment; it is erased with the result") from error
    except OSError as error:
        what = f"{path} cannot be written ({os.strerror(error.errno or 0)})"
        raise ClientError(what, "name another file") from error
    finally:
        part.unlink(missing_ok=True)


def format_result(
    result: Result, fmt: ResultFormat, limits: SubtitleLimits = DEFAULT_LIMITS, audio: str | None = None
) -> str | bytes:
    """Convert a result into the format `fmt`, exactly as the service does.

    `audio`: the URL of the recording, which an HTML page plays; None: the reader of the page chooses a local file.

    Raises:
        RequestFailedError: The format cannot hold this kind of result.
        ClientError: The extra `command`, which subtitles need, is not installed.
    """
    try:
        return formats.write(result, fmt, limits, audio)
    except formats.FormatUnavailableError as error:
        raise RequestFailedError(ErrorDetail(code=ErrorCode.FORMAT_UNAVAILABLE, message=str(error))) from error
    except ImportError as error:
        what = "Writing subtitles needs an extra"
        raise ClientError(what, "install it in a checkout with `pip install './clients/python[command]'`") from error
