"""Fetches results that are too large for a message, and writes results in formats."""

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
    """Return the content of the object that `reference` names: a whole result, as JSON.

    Raises:
        ClientError: The object cannot be fetched.
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
    """Return a result in the format `fmt`, exactly as the service formats it.

    `audio`: the address of the recording, which a page of the format `html` plays; None: none.

    Raises:
        RequestFailedError: This kind of result cannot be written in this format.
    """
    try:
        return formats.write(result, fmt, limits, audio)
    except formats.FormatUnavailableError as error:
        raise RequestFailedError(ErrorDetail(code=ErrorCode.FORMAT_UNAVAILABLE, message=str(error))) from error
    except ImportError as error:
        message = "Writing subtitles needs an extra, install it in a checkout: pip install './clients/python[command]'"
        raise ClientError(message) from error
