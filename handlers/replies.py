"""What becomes of errors in handlers: requests get an error reply, other messages are ignored."""

from collections.abc import Awaitable, Callable
from json import JSONDecodeError
from typing import Any

import structlog
from faststream import BaseMiddleware, StreamMessage
from faststream.middlewares import ExceptionMiddleware
from nats.aio.msg import Msg
from pydantic import ValidationError

from app.errors import RequestError
from schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from schemas.problems import first_problem

INTERNAL = ErrorReply(
    error=ErrorDetail(code=ErrorCode.INTERNAL, message="The service could not answer: ask again in a moment.")
)

# Reply subjects begin so, whatever inbox prefix a client has chosen. The second is the server's own, for requests from
# other accounts; no client may use it.
INBOXES = ("_INBOX", "_R_.")


log = structlog.get_logger()


class InboxesOnly(BaseMiddleware[Any, Any]):  # the library's own type variables
    """Ignores requests whose reply subject is no inbox.

    The client chooses the reply subject, and the service may publish where a client may not: to a task queue, to a log,
    or to JetStream's API, which takes an empty message for a request to delete a stream.
    """

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        """Handle the request, unless its reply subject is no inbox."""
        if msg.reply_to and not msg.reply_to.startswith(INBOXES):
            log.warning("request_ignored", subject=msg.raw_message.subject)
            msg.reply_to = ""
            return None
        return await call_next(msg)


reply_with_errors = ExceptionMiddleware()
ignore_invalid = ExceptionMiddleware()


@reply_with_errors.add_handler(RequestError, publish=True)
def reply_refused(error: RequestError) -> ErrorReply:
    """Reply with the reason."""
    return ErrorReply(error=error.detail)


@reply_with_errors.add_handler(ValidationError, publish=True)
def reply_invalid(error: ValidationError) -> ErrorReply:
    """Reply with what is wrong in the request."""
    message = f"The request is invalid ({first_problem(error)}): correct it and ask again."
    return ErrorReply(error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message))


@reply_with_errors.add_handler(JSONDecodeError, publish=True)
@reply_with_errors.add_handler(UnicodeDecodeError, publish=True)
@reply_with_errors.add_handler(RecursionError, publish=True)  # JSON may nest more deeply than Python reads
def reply_no_json(_: Exception) -> ErrorReply:
    """Reply that the request is not JSON."""
    message = "The request is not a JSON object in UTF-8: send one."
    return ErrorReply(error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message))


@reply_with_errors.add_handler(Exception, publish=True)
def reply_internal(error: Exception) -> ErrorReply:
    """Reply although the service has a fault."""
    log.error("request_failed", exc_info=error)
    return INTERNAL


@ignore_invalid.add_handler(ValueError)
@ignore_invalid.add_handler(RecursionError)  # JSON may nest more deeply than Python reads
def ignore(_: Exception) -> None:
    """Ignore the message: the worker that takes an invalid task from its queue settles it."""
