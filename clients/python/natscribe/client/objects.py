"""Fetches results that are too large for a message."""

import nats.errors
from nats.aio.client import Client as Nats
from pydantic import BaseModel, ValidationError

from natscribe.client.errors import ClientError
from natscribe.schemas.wire import Object


class _Reference(BaseModel, defer_build=True):
    object: Object


async def whole(connection: Nats, body: bytes) -> bytes:
    """Return the content of the object that the body of a result names, or else the body itself.

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
