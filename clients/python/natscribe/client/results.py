"""Downloads results that are too large for a message, and converts results into file formats."""

import nats.errors
from nats.aio.client import Client as Nats

from natscribe import formats
from natscribe.client.errors import ClientError, RequestFailedError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.wire import Object

DEFAULT_LIMITS = SubtitleLimits()


async def fetch_object(connection: Nats, reference: Object) -> bytes:
    """Download the object to which a result refers, and return its content: the whole result as JSON.

    Raises:
        ClientError: The object cannot be downloaded.
    """
    try:
        bucket = await connection.jetstream().object_store(reference.bucket)
        return (await bucket.get(reference.name)).data or b""
    except nats.errors.Error as error:
        message = f"The result is in the bucket {reference.bucket!r} and could not be fetched: try again in a moment."
        raise ClientError(message) from error


def format_result(
    result: Result, fmt: ResultFormat, limits: SubtitleLimits = DEFAULT_LIMITS, audio: str | None = None
) -> str | bytes:
    """Convert a result into the format `fmt`, exactly as the service does.

    `audio`: the URL of the recording, which an HTML page plays; None: the page has no URL.

    Raises:
        RequestFailedError: The format cannot hold this kind of result.
        ClientError: The extra `command`, which subtitles need, is not installed.
    """
    try:
        return formats.write(result, fmt, limits, audio)
    except formats.FormatUnavailableError as error:
        raise RequestFailedError(ErrorDetail(code=ErrorCode.FORMAT_UNAVAILABLE, message=str(error))) from error
    except ImportError as error:
        message = "Writing subtitles needs an extra, install it in a checkout: pip install './clients/python[command]'"
        raise ClientError(message) from error
