"""Routes of requests, and middlewares that reply to failed requests with errors, and ignore other invalid messages."""

from collections.abc import Awaitable, Callable
from typing import Any, get_type_hints

import structlog
from faststream import BaseMiddleware, ContextRepo, StreamMessage
from faststream.middlewares import ExceptionMiddleware
from faststream.nats import NatsResponse, NatsRoute
from nats.aio.msg import Msg
from natscribe.schemas.channels import Channel
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.problems import invalid_request, problems_of
from natscribe.schemas.subjects import is_inbox
from pydantic import ValidationError

from app.requests.discovery import ServiceInstance
from app.runtime.errors import RequestError

MAX_CONCURRENT_REQUESTS = 64  # of one subject: a slow reply delays no other reply
MAX_WAITING_REQUESTS = 256  # further requests of one subject that wait; more are refused at once
INTERNAL_ERROR = ErrorReply(
    error=ErrorDetail(
        code=ErrorCode.INTERNAL, message="The service could not handle the request: try again in a moment."
    )
)

log = structlog.get_logger()


def request_route(channel: Channel, handler: Callable[..., Any]) -> NatsRoute:
    """Return the route of the requests on a channel; the docstring of `handler` describes it in the AsyncAPI document.

    Raises:
        TypeError: The handler takes other requests or returns other replies than those of the channel.
    """
    hints = get_type_hints(handler)
    reply = channel.reply | NatsResponse if channel.reply and channel.has_files else channel.reply
    if (hints["request"], hints["return"]) != (channel.message, reply):
        message = f"The handler of {channel.subject} and its entry in schemas/channels.py have different messages."
        raise TypeError(message)
    return NatsRoute(
        handler,
        channel.subject,
        queue=channel.group,
        max_workers=MAX_CONCURRENT_REQUESTS,
        pending_msgs_limit=MAX_WAITING_REQUESTS,
        title=channel.title,
    )


class InboxesOnly(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Middleware that ignores a request whose reply subject is not an inbox: a stream might store the reply."""

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        """Call the handler of the request, unless the request has a reply subject that is not an inbox."""
        if msg.reply_to and not is_inbox(msg.reply_to):
            log.warning("request_ignored", subject=msg.raw_message.subject)
            msg.reply_to = ""
            return None
        return await call_next(msg)


class CountRequests(BaseMiddleware[Any, Any]):  # `Any`: FastStream's type parameters
    """Middleware that counts requests and their errors."""

    def __init__(self, instance: ServiceInstance, request: Msg, /, *, context: ContextRepo) -> None:
        super().__init__(request, context=context)
        self._instance = instance

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        """Call the handler of the request."""
        with self._instance.count(msg.raw_message.subject):
            return await call_next(msg)


reply_with_errors = ExceptionMiddleware()
ignore_invalid = ExceptionMiddleware()


@reply_with_errors.add_handler(RequestError, publish=True)
def reply_refused(error: RequestError) -> ErrorReply:
    """Return an error reply with the details of the error that a handler has raised."""
    return ErrorReply(error=error.detail)


@reply_with_errors.add_handler(ValidationError, publish=True)
def reply_invalid(error: ValidationError) -> ErrorReply:
    """Return a reply that describes the problems of an invalid request."""
    return ErrorReply(error=invalid_request(problems_of(error)))


@reply_with_errors.add_handler(Exception, publish=True)
def reply_internal(error: Exception) -> ErrorReply:
    """Log an unexpected exception of a handler, and return the error `internal` as the reply."""
    log.error("request_failed", exc_info=error)
    return INTERNAL_ERROR


@ignore_invalid.add_handler(RequestError, publish=True)
@ignore_invalid.add_handler(ValueError, publish=True)
def ignore(_: Exception) -> None:
    """Ignore an invalid message on `accepted.tasks.*`: the worker that pulls the task from its queue reports the error.

    Although nothing is published as a reply, the handler needs `publish=True`: only then does FastStream catch the
    error before tracing records it. The text of the error quotes the task, so it must not be recorded.
    """
