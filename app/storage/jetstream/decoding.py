"""Decodes incoming messages with the same JSON parser that reads stored messages, so that both accept the same JSON."""

from faststream.nats import NatsMessage
from natscribe.jetstream.cloud_events import JSON
from natscribe.schemas.problems import NO_JSON_OBJECT, invalid_request
from pydantic_core import from_json

from app.runtime.errors import RequestError


async def decode(message: NatsMessage) -> object:
    """Parse the JSON body of a message; return a body of another content type unchanged, which handlers then reject.

    FastStream's own decoder is not used: it accepts UTF-16 and lone surrogates, which readers of stored messages
    reject, and fails on integers of more than 4,300 digits and on deep nesting.

    Raises:
        RequestError: The body is not JSON.
    """
    if not (message.content_type or JSON).startswith(JSON):
        return message.body
    try:
        return from_json(message.body)
    except ValueError:
        raise RequestError.of(invalid_request(NO_JSON_OBJECT)) from None
