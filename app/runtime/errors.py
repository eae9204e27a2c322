"""The errors of the service, named for what happens next: a retry, a failed task, an error reply and so on."""

from typing import Final, Self

from nats.errors import NoRespondersError, StaleConnectionError, UnexpectedEOF
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from natscribe.schemas.errors import ErrorCode, ErrorDetail

NOT_NOW: Final = "JetStream does not answer this request at the moment"
NATS_ERROR_TEXTS: Final[dict[type[Exception], str]] = {  # nats-py's own texts are like `nats: timeout`
    NatsTimeoutError: "NATS did not answer in time",
    NoRespondersError: NOT_NOW,
    NoStreamResponseError: NOT_NOW,
    ServiceUnavailableError: NOT_NOW,
    UnexpectedEOF: "NATS closed the connection",
    StaleConnectionError: "NATS was silent for too long",  # nats-py's superclass of the one above
}


class ReportedError(Exception):
    """An error whose code and message a client reads, as the error of a task or as the reply to a request."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(code=code, message=message)

    @classmethod
    def of(cls, detail: ErrorDetail) -> Self:
        """Return an error of this type with the code and message of `detail`."""
        return cls(detail.code, detail.message)


class TaskError(ReportedError):
    """An attempt at a task has failed; the subclass says whether a retry can help."""


class TransientError(TaskError):
    """An attempt at a task has failed, but a retry can help: the task is retried after a delay."""


class PermanentError(TaskError):
    """An attempt at a task has failed, and a retry cannot help: the task fails."""


class InvalidTaskError(ReportedError):
    """A task message is no valid task: its publisher reads this error in the log of the task, if it has a task id."""


class FencedError(Exception):
    """Another writer has appended to the task's log: this worker stops, and does not acknowledge the task message."""


class ObsoleteMessageError(Exception):
    """A task message needs no processing, because its task has ended or its id belongs to another message.

    The message is acknowledged.
    """


class MessageGoneError(Exception):
    """A server of JetStream reports that the task stream no longer holds a delivered task message.

    Usually the task was deleted. But the server may be a former leader of the stream that has not received the message
    yet. So the worker returns the message to JetStream, which redelivers it only if the stream does hold it.
    """


class BucketFullError(Exception):
    """A Key-Value bucket is full: a task continues without storing the value, and a request gets an error reply."""

    def __init__(self, bucket: str) -> None:
        super().__init__(bucket)
        self.bucket = bucket


class RequestError(ReportedError):
    """A request fails: its client gets this error as the reply."""


def describe(error: Exception) -> str:
    """Return a readable text about an error of NATS or Redis, for the log."""
    text = next((text for kind, text in NATS_ERROR_TEXTS.items() if isinstance(error, kind)), None)
    return text or str(error) or type(error).__name__
