"""The errors of the service; the name of an error tells how the service reacts."""

from typing import Final

from nats.errors import NoRespondersError, StaleConnectionError, UnexpectedEOF
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from natscribe.schemas.errors import ErrorCode, ErrorDetail

NOT_NOW: Final = "JetStream does not answer this request at the moment"
WORDS: Final[dict[type[Exception], str]] = {  # of nats-py's errors, whose own texts are like `nats: timeout`
    NatsTimeoutError: "NATS did not answer in time",
    NoRespondersError: NOT_NOW,
    NoStreamResponseError: NOT_NOW,
    ServiceUnavailableError: NOT_NOW,
    UnexpectedEOF: "NATS closed the connection",
    StaleConnectionError: "NATS was silent for too long",  # nats-py's superclass of the one above
}


class TaskError(Exception):
    """A task cannot go on; the subclass tells whether a retry can help."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(code=code, message=message)


class TransientError(TaskError):
    """A retry can help: the task is retried after a delay."""


class PermanentError(TaskError):
    """A retry cannot help: the task fails."""


class FencedError(Exception):
    """Another writer has appended to the task's log: this worker stops and settles nothing."""


class ObsoleteMessageError(Exception):
    """The task of a message has ended, or its id belongs to another message: remove the message, and change no task."""


class MessageGoneError(Exception):
    """The task stream does not hold a message, because its task was deleted: return the message to JetStream.

    JetStream delivers the message again only if the stream holds it after all. A server that was the stream's leader a
    moment ago may not know the message yet.
    """


class BucketFullError(Exception):
    """A Key-Value bucket has no room: a task goes on and stores nothing there, a request gets an error."""

    def __init__(self, bucket: str) -> None:
        super().__init__(bucket)
        self.bucket = bucket


class RequestError(Exception):
    """A request cannot be answered: the client gets this error as the reply."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(code=code, message=message)


def refusal(detail: ErrorDetail) -> RequestError:
    """Make the error of a request that cannot be answered; `detail` is what the client gets."""
    return RequestError(detail.code, detail.message)


def describe(error: Exception) -> str:
    """Write an error of NATS or Redis in words, for the log."""
    words = next((words for kind, words in WORDS.items() if isinstance(error, kind)), None)
    return words or str(error) or type(error).__name__
