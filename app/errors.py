"""The errors of the service; the name of an error tells how the service reacts."""

from functools import cache
from typing import Final

import structlog
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

UNREADABLE_DELAY_S: Final = 5.0  # pause of a message that only a worker of another version can read

log = structlog.get_logger()


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


class AlreadyKnownError(Exception):
    """The task of a message has ended, or its id belongs to another message: remove the message, and change no task."""


class NotHeldError(Exception):
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


@cache
def _log_unreadable(stored_as: str) -> None:
    log.error("record_unreadable", stored_as=stored_as, advice="run the newest version of the service on all workers")


class UnreadableError(RequestError):
    """Another version of the service has written a record that this worker cannot read: stop, and change nothing.

    Neither "no record" nor "not found" would be true. A worker that can read the record continues: background work is
    repeated later, a message of a queue is returned, and a request gets this error as the reply. The log tells the
    operator once what to do.
    """

    def __init__(self, subject: str) -> None:
        _log_unreadable(subject.partition(".")[0])
        message = (
            f"This worker cannot read {subject}, because another version of the service has written it: ask again in a "
            "moment, another worker may answer; the operator has to run the newest version on all workers."
        )
        super().__init__(ErrorCode.INTERNAL, message)


def refusal(detail: ErrorDetail) -> RequestError:
    """Make the error of a request that cannot be answered; `detail` is what the client gets."""
    return RequestError(detail.code, detail.message)


def in_words(error: Exception) -> str:
    """Write an error of NATS or Redis in words, for the log."""
    words = next((words for kind, words in WORDS.items() if isinstance(error, kind)), None)
    return words or str(error) or type(error).__name__
