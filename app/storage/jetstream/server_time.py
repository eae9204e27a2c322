"""Reads the time of the NATS server, which also stamps stored messages: the clock of a worker may be wrong."""

from datetime import datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from pydantic import AwareDatetime, BaseModel, Field, ValidationError


class StreamTimes(BaseModel):
    """The current time of the server of a stream, and when the stream was created."""

    now: AwareDatetime = Field(alias="ts")  # nats-py drops this field
    created: AwareDatetime


async def stream_times(nats: Client, stream: str) -> StreamTimes:
    """Read the time of the server that stamps the messages of a stream, and when the stream was created.

    Raises:
        NatsError: NATS does not answer, or the stream does not exist.
    """
    reply = await nats.request(f"$JS.API.STREAM.INFO.{stream}", timeout=REQUEST_TIMEOUT_S)
    try:
        return StreamTimes.model_validate_json(reply.data)
    except ValidationError as error:
        message = f"the server does not report the time of the stream {stream}"
        raise NatsError(message) from error


async def server_time(nats: Client, stream: str) -> datetime:
    """Return the current time of the server that stamps the messages of a stream.

    Raises:
        NatsError: NATS does not answer, or the stream does not exist.
    """
    return (await stream_times(nats, stream)).now
