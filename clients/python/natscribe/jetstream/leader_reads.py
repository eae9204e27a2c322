"""Reads single messages from the leader of a stream: only these reads may decide what happens to a task.

The leader has every message that it has acknowledged; the replicas from which `stream_pages` also reads may lag behind.
"""

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from natscribe.jetstream.error_codes import NO_MESSAGE
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S


async def message_at(nats: Client, stream: str, subject: str | None, sequence: int) -> RawStreamMsg | None:
    """Return the message with the stream sequence `sequence`; None if the stream has no such message.

    `subject`: return the message only if it has this subject; None: any subject.

    Raises:
        NatsError: The leader does not reply.
    """
    message = await _message(nats, stream, sequence)
    return message if message is not None and subject in {None, message.subject} else None


async def next_from(nats: Client, stream: str, subject: str, start: int) -> RawStreamMsg | None:
    """Return the first message on a subject with a stream sequence of at least `start`; None if there is none.

    Raises:
        NatsError: The leader does not reply.
    """
    return await _message(nats, stream, start, subject)


async def last_message(nats: Client, stream: str, subject: str) -> RawStreamMsg | None:
    """Return the last message on a subject, as stored by the leader of the stream; None if there is none.

    Raises:
        NatsError: The leader does not reply.
    """
    return await _message(nats, stream, None, subject)


async def _message(nats: Client, stream: str, start: int | None, subject: str | None = None) -> RawStreamMsg | None:
    js, is_next = nats.jetstream(timeout=REQUEST_TIMEOUT_S), start is not None and subject is not None
    try:
        return await js.get_msg(stream, start, subject, next=is_next)
    except NotFoundError as error:
        if error.err_code != NO_MESSAGE:  # the stream is missing, and the service will create it
            raise NoRespondersError from error
        return None
