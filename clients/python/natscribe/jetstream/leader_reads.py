"""Read single messages from the leader of a stream: only these reads may decide what happens to a task.

The leader knows all that it has acknowledged; other servers, which `stream_pages` also reads from, may be behind.
"""

from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from natscribe.jetstream.error_codes import NO_MESSAGE
from natscribe.jetstream.retries import REQUEST_TIMEOUT_S


async def message_at(nats: Client, stream: str, subject: str | None, sequence: int) -> RawStreamMsg | None:
    """Return the message with this stream sequence; None if it is gone, or not on `subject` (if given).

    Raises:
        NatsError: The leader does not answer.
    """
    found = await _message(nats, stream, sequence)
    return found if found is not None and subject in {None, found.subject} else None


async def next_from(nats: Client, stream: str, subject: str, start: int) -> RawStreamMsg | None:
    """Return the first message of a subject from stream sequence `start` on; None if no message follows.

    Raises:
        NatsError: The leader does not answer.
    """
    return await _message(nats, stream, start, subject)


async def last_message(nats: Client, stream: str, subject: str) -> RawStreamMsg | None:
    """Return the last message of a subject; None if the subject has no message.

    Raises:
        NatsError: The leader does not answer.
    """
    return await _message(nats, stream, None, subject)


async def _message(nats: Client, stream: str, start: int | None, subject: str | None = None) -> RawStreamMsg | None:
    js, follows = nats.jetstream(timeout=REQUEST_TIMEOUT_S), start is not None and subject is not None
    try:
        return await js.get_msg(stream, start, subject, next=follows)
    except NotFoundError as error:
        if error.err_code != NO_MESSAGE:  # the stream is missing: the service will create it, ask again
            raise NoRespondersError from error
        return None
