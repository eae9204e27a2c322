"""The rule for retries: which failed attempts are followed by another one, and after how many seconds."""

from app.errors import TaskError, TransientError
from app.execution.attempt import TaskAttempt

LONGEST_DELAY_S = 3600.0  # limit of a delay, so that no message expires while its task waits for a retry


def may_retry(attempt: TaskAttempt, failure: TaskError) -> bool:
    """Return whether another attempt can help: the error may pass, and the task has attempts left."""
    has_left = attempt.number < attempt.record.event.max_attempts or attempt.may_complete_without_speakers
    return isinstance(failure, TransientError) and has_left


def delay_after(attempt: int, first: float, random_part: float) -> float:
    """Return the seconds until the retry after an attempt: `first` seconds, doubled for each attempt after the first.

    The delay is at most LONGEST_DELAY_S, and up to a quarter more by `random_part`, a random number 0..1, which spreads
    the retries of tasks that fail together.
    """
    delay = min(first * 2 ** (attempt - 1), LONGEST_DELAY_S)
    return float(delay * (1 + random_part / 4))
