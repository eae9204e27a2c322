"""Errors, named for what happens next."""

from schemas.errors import ErrorCode, ErrorDetail


class TaskError(Exception):
    """A task cannot go on; the subclass says whether trying again can help."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(code=code, message=message)


class TransientError(TaskError):
    """Trying again can help: the task is retried after a delay."""


class PermanentError(TaskError):
    """Trying again cannot help: the task fails."""


class FencedError(Exception):
    """Somebody else has appended to the task's log: this worker stops and settles nothing."""


class AlreadyKnownError(Exception):
    """The task has ended, or another message has its id: this message is taken from the queue and changes nothing."""


class RequestError(Exception):
    """A request cannot be answered: the client is told why."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.detail = ErrorDetail(code=code, message=message)
