"""Reads the time of the NATS server, which also stamps stored messages: the clock of a worker may be wrong."""

from datetime import datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from pydantic import AwareDatetime, BaseModel, ValidationError


class _StreamInfo(BaseModel):
    ts: AwareDatetime  # nats-py drops this field


async def server_time(nats: Client, stream: str) -> datetime:
    """Return the current time of the server that stamps the messages of a stream.

    Raises:
        NatsError: NATS does not answer, or the stream does not exist.
    """
    reply = await nats.request(f"$JS.API.STREAM.INFO.{stream}", timeout=REQUEST_TIMEOUT_S)
    try:
        return _StreamInfo.model_validate_json(reply.data).ts
    except ValidationError as error:
        message = f"the server does not report the time of the stream {stream}"
        raise NatsError(message) from error
