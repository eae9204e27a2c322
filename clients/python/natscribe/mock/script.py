"""What the mock does with a task, and with requests about it, depends on the prefix of the task id."""

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
_NEVER_RUN = {ErrorCode.EXPIRED, ErrorCode.INVALID_MESSAGE}


@dataclass(frozen=True)
class Script:
    """How the attempts of a task end, and whether the task is large or slow."""

    error: ErrorDetail | None = None  # None: the task completes
    failures: int = ATTEMPTS  # how many attempts end with `error`
    large: bool = False
    seconds: float | None = None  # of an attempt; None: as of all tasks

    @classmethod
    def of(cls, task_id: str) -> "Script":
        """Return the script for the prefix of a task id."""
        if task_id.startswith(RETRY):
            return cls(_detail(ErrorCode.ENGINE_FAILED), failures=1)
        if task_id.startswith(LOSE):
            return cls(_detail(ErrorCode.WORKER_LOST), failures=1)
        if task_id.startswith(FAIL):
            return cls(_named(task_id, FAIL, OF_TASKS))
        return cls(large=task_id.startswith(LARGE), seconds=SLOW_S if task_id.startswith(SLOW) else None)

    @property
    def runs(self) -> bool:
        """Whether the task has any attempt."""
        return self.error is None or self.error.code not in _NEVER_RUN

    def ending(self, attempt: int) -> State | None:
        """Return the state in which the attempt with this number ends; None: its worker is lost."""
        if self.error is None or attempt > self.failures:
            return State.COMPLETED
        if attempt < ATTEMPTS and self.error.code in _RETRIED:
            return State.RETRYING
        return None if attempt < ATTEMPTS and self.error.code is ErrorCode.WORKER_LOST else State.FAILED


def scripted_reply(task_id: str) -> ErrorDetail | None:
    """Return the error that is the reply to all requests about a task; None if they get proper replies."""
    return _named(task_id, REFUSE, list(ErrorCode)) if task_id.startswith(REFUSE) else None


def _named(task_id: str, prefix: str, codes: list[ErrorCode]) -> ErrorDetail:
    """Return the error whose code follows `prefix` in a task id; if it is not in `codes`, one that lists them."""
    word = task_id.removeprefix(prefix).partition("-")[0]
    for code in codes:
        if code == word:
            return _detail(code)
    message = f"The mock has no error {word!r} for {prefix}: write {prefix}CODE with one of {', '.join(codes)}."
    return ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message=message)


def _detail(code: ErrorCode) -> ErrorDetail:
    return ErrorDetail(code=code, message=f"{code.meaning.partition(';')[0].rstrip('.')}.")
