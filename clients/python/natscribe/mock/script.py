"""Derives from the prefix of a task id how the mock simulates the task: client tests thus choose errors and delays."""

from dataclasses import dataclass

from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import State

ATTEMPTS = 4  # of a task, as the service has by default
SLOW_S = 600.0  # how long an attempt of a slow task takes
# Prefixes of task ids:
FAIL, REFUSE, RETRY, LOSE, LARGE, SLOW = "error-", "reply-", "retry-", "lost-", "large-", "slow-"
OF_REQUESTS = {ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND, ErrorCode.NOT_FINISHED, ErrorCode.FORMAT_UNAVAILABLE}
OF_TASKS = [code for code in ErrorCode if code not in OF_REQUESTS]
_RETRIED = {ErrorCode.TIMEOUT, ErrorCode.ENGINE_FAILED, ErrorCode.INTERNAL}
_NEVER_RUN = {ErrorCode.EXPIRED, ErrorCode.QUOTA_EXCEEDED, ErrorCode.INVALID_MESSAGE}


@dataclass(frozen=True)
class Script:
    """How the mock simulates a task, according to the prefix of the task id.

    `error`: the error of failed attempts; None: the task completes. `failures`: how many attempts fail with `error`.
    `large`: whether the result is too large for a message. `seconds`: the duration of an attempt; None: the duration
    that the mock uses for all tasks.
    """

    error: ErrorDetail | None = None  # None: the task completes
    failures: int = ATTEMPTS  # how many attempts end with `error`
    large: bool = False
    seconds: float | None = None  # of an attempt; None: as of all tasks

    @classmethod
    def of(cls, task_id: str) -> "Script":
        """Return how to simulate the task with this id, according to the prefix of the id.

        Without a known prefix, the task completes.
        """
        if task_id.startswith(RETRY):
            return cls(_detail(ErrorCode.ENGINE_FAILED), failures=1)
        if task_id.startswith(LOSE):
            return cls(_detail(ErrorCode.WORKER_LOST), failures=1)
        if task_id.startswith(FAIL):
            return cls(_named(task_id, FAIL, OF_TASKS))
        return cls(large=task_id.startswith(LARGE), seconds=SLOW_S if task_id.startswith(SLOW) else None)

    @property
    def runs(self) -> bool:
        """Whether the task starts at all: False if its error is one with which tasks fail before they start."""
        return self.error is None or self.error.code not in _NEVER_RUN

    def ending(self, attempt: int) -> State | None:
        """Return the state in which an attempt (counted from 1) ends; None if the attempt simulates a lost worker."""
        if self.error is None or attempt > self.failures:
            return State.COMPLETED
        if attempt < ATTEMPTS and self.error.code in _RETRIED:
            return State.RETRYING
        return None if attempt < ATTEMPTS and self.error.code is ErrorCode.WORKER_LOST else State.FAILED


def scripted_reply(task_id: str) -> ErrorDetail | None:
    """Return the error with which the mock replies to all requests about a task; None: it handles them normally."""
    return _named(task_id, REFUSE, list(ErrorCode)) if task_id.startswith(REFUSE) else None


def _named(task_id: str, prefix: str, codes: list[ErrorCode]) -> ErrorDetail:
    """Return the error whose code follows `prefix` in a task id.

    If that code is not one of `codes`, return an `invalid_message` error whose text lists them.
    """
    word = task_id.removeprefix(prefix).partition("-")[0]
    if word in codes:
        return _detail(ErrorCode(word))
    message = f"The mock has no error {word!r} for {prefix}: write {prefix}CODE with one of {', '.join(codes)}."
    return ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message=message)


def _detail(code: ErrorCode) -> ErrorDetail:
    return ErrorDetail(code=code, message=f"{code.meaning.partition(';')[0].rstrip('.')}.")
