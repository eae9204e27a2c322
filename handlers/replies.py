"""What becomes of errors where nobody retries: requests are answered, the rest is let go."""

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

# What the places for answers begin with, whatever prefix a client has chosen; the second is what the server puts in
# their place where somebody asks from another account, and nobody else may.
INBOXES = ("_INBOX", "_R_.")


log = structlog.get_logger()


class InboxesOnly(BaseMiddleware[Any, Any]):  # the library's own type variables
    """Leaves requests alone whose answer would go elsewhere than into an inbox.

    Whoever asks names the place, and the service may publish where a client may not: into a queue or a log, or to
    JetStream, which takes an empty text for the order to delete a stream.
    """

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[object]], msg: StreamMessage[Msg]
    ) -> object:
        """Answer as the handler says, or not at all."""
        if msg.reply_to and not msg.reply_to.startswith(INBOXES):
            log.warning("request_unanswered", subject=msg.raw_message.subject)
            msg.reply_to = ""
            return None
        return await call_next(msg)


tell_errors = ExceptionMiddleware()
ignore_invalid = ExceptionMiddleware()


@tell_errors.add_handler(RequestError, publish=True)
def tell_request_error(error: RequestError) -> ErrorReply:
    """Answer with the reason."""
    return ErrorReply(error=error.detail)


@tell_errors.add_handler(ValidationError, publish=True)
def tell_invalid(error: ValidationError) -> ErrorReply:
    """Answer with what is wrong about the request."""
    message = f"The request is invalid ({first_problem(error)}): correct it and ask again."
    return ErrorReply(error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message))


@tell_errors.add_handler(JSONDecodeError, publish=True)
@tell_errors.add_handler(UnicodeDecodeError, publish=True)
@tell_errors.add_handler(RecursionError, publish=True)  # JSON may nest more deeply than Python reads
def tell_no_json(_: Exception) -> ErrorReply:
    """Answer that the request is not JSON."""
    message = "The request is not a JSON object in UTF-8: send one."
    return ErrorReply(error=ErrorDetail(code=ErrorCode.INVALID_REQUEST, message=message))


@tell_errors.add_handler(Exception, publish=True)
def tell_internal(error: Exception) -> ErrorReply:
    """Answer even when something is broken."""
    log.error("request_broken", exc_info=error)
    return INTERNAL


@ignore_invalid.add_handler(ValueError)
@ignore_invalid.add_handler(RecursionError)  # JSON may nest more deeply than Python reads
def let_go(_: Exception) -> None:
    """Leave an invalid task to the worker that picks it up, and what is no event of ours to whoever wrote it."""
