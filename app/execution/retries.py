"""The retry policy: which failed attempts are retried, and after how many seconds."""

from app.errors import TaskError, TransientError
from app.execution.attempt import TaskAttempt

MAX_DELAY_S = 3600.0  # so that no message expires while its task waits for a retry


def may_retry(attempt: TaskAttempt, failure: TaskError) -> bool:
    """Return whether to retry a failed attempt: the error is transient, and the task has attempts left."""
    has_attempts_left = attempt.number < attempt.record.event.max_attempts or attempt.may_complete_without_speakers
    return isinstance(failure, TransientError) and has_attempts_left


def delay_after(attempt: int, first: float, random_part: float) -> float:
    """Return the delay before a retry in seconds: exponential backoff with jitter.

    `attempt`: the number of the failed attempt, from 1. The delay is `first` seconds after the first attempt, and
    doubles with each attempt, up to MAX_DELAY_S. `random_part`, a random number from 0 to 1, adds up to a quarter, so
    that tasks that failed together are not retried together.
    """
    delay = min(first * 2 ** (attempt - 1), MAX_DELAY_S)
    return float(delay * (1 + random_part / 4))
