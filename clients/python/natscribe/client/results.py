"""Fetches results that are too large for a message, and writes results in formats."""

import nats.errors
from nats.aio.client import Client as Nats
from pydantic import BaseModel, ValidationError

from natscribe import formats
from natscribe.client.errors import ClientError, RequestFailedError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.kinds import Result
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.wire import Object

DEFAULT_LIMITS = SubtitleLimits()


class _Reference(BaseModel, defer_build=True):
    object: Object


async def whole(connection: Nats, body: bytes) -> bytes:
    """Return a whole result as JSON: the object to which the message `body` refers, or `body` if it refers to none.

    Raises:
        ClientError: The object cannot be fetched.
    """
    try:
        reference = _Reference.model_validate_json(body).object
    except ValidationError:
        return body
    try:
        bucket = await connection.jetstream().object_store(reference.bucket)
        return (await bucket.get(reference.name)).data or b""
    except nats.errors.Error as error:
        message = f"The result is in the bucket {reference.bucket!r} and could not be fetched: ask again in a moment."
        raise ClientError(message) from error


def written(
    result: Result, result_format: ResultFormat, limits: SubtitleLimits = DEFAULT_LIMITS, recording: str | None = None
) -> str | bytes:
    """Write a result in a format, as the service does; a page plays the recording at the address `recording`.

    Raises:
        RequestFailedError: This kind of result cannot be written in this format.
    """
    try:
        return formats.write(result, result_format, limits, recording)
    except formats.FormatUnavailableError as error:
        raise RequestFailedError(ErrorDetail(code=ErrorCode.FORMAT_UNAVAILABLE, message=str(error))) from error
    except ImportError as error:
        message = "Writing subtitles needs an extra, install it in a checkout: pip install './clients/python[command]'"
        raise ClientError(message) from error
