"""Repeats requests to which JetStream does not reply: after the loss of a server, streams lack a leader for seconds."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, TypeVar

from nats.errors import ConnectionReconnectingError, NoRespondersError, OutboundBufferLimitError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import APIError, NoStreamResponseError, ServerError, ServiceUnavailableError

RETRY_FOR_S: Final = 30.0  # the servers of a cluster need up to ten seconds to elect a new leader
REPEAT_EVERY_S: Final = 0.1
REQUEST_TIMEOUT_S: Final = 2.0  # of one request to JetStream, which is lost if the leader dies
UNFINISHED: Final = {  # err_codes of a cluster's leader, after which a request can be repeated
    10158,  # a message with this id is not stored on enough servers yet
    10164,  # another append to this subject is not finished yet
}
OUTAGE_ERRORS = (  # errors of an outage, after which a request can be repeated
    NatsTimeoutError,
    NoStreamResponseError,
    NoRespondersError,
    ConnectionReconnectingError,
    OutboundBufferLimitError,
    ServiceUnavailableError,
    ServerError,
)

T = TypeVar("T")


def is_repeatable(error: Exception) -> bool:
    """Whether a repeated request may succeed, because `error` comes from an outage or an unfinished append.

    An append is unfinished until enough servers of the cluster have stored the message.
    """
    return isinstance(error, OUTAGE_ERRORS) or (isinstance(error, APIError) and error.err_code in UNFINISHED)


async def retry_until_reply(
    request: Callable[[], Awaitable[T]], *, within_s: float = RETRY_FOR_S, final: Collection[int] = ()
) -> T:
    """Call `request` until it succeeds or fails with an error that a repetition cannot cure; return its result.

    `within_s`: for how many seconds to repeat. `final`: JetStream error codes (`err_code`); an error with one of these
    is raised at once.

    Raises:
        NatsError: NATS has not replied within `within_s` seconds, or has replied with an error.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while True:
        try:
            return await request()
        except (APIError, *OUTAGE_ERRORS) as error:
            is_final = isinstance(error, APIError) and error.err_code in final
            if is_final or not is_repeatable(error) or loop.time() > deadline:
                raise
        await asyncio.sleep(REPEAT_EVERY_S)
