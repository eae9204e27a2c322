"""The retry policy: which attempts count as failed, which have a successor, and after how many seconds it starts."""

from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.wire import Kind

MAX_DELAY_S = 3600.0  # so that no message expires while its task waits for a retry


def failed_or_lost(last: ProgressEvent) -> bool:
    """Return whether the latest attempt at a task has failed or lost its worker.

    `last`: the last event of the task's log. Call this only for a task that was delivered again: then no attempt runs
    any more, and a last event `running` means that the worker was lost.
    """
    return last.state in {State.RUNNING, State.RETRYING}


def only_speakers_missing(kind: Kind, stage: Stage | None) -> bool:
    """Return whether the text of a transcription task is complete in this stage, and only its speakers are missing.

    One more attempt than `max_attempts` is then allowed, which stores the text without speakers.
    """
    return kind is Kind.TRANSCRIPTION and stage in {Stage.DIARIZING, Stage.MERGING}


def diarization_is_given_up(last: ProgressEvent) -> bool:
    """Return whether the last allowed attempt failed or was lost when only speakers were missing.

    `last`: the last event of the task's log.
    """
    is_over = failed_or_lost(last) and last.attempt >= last.max_attempts
    return is_over and only_speakers_missing(last.kind, last.stage)


def delay_after(attempt: int, first: float, random_part: float) -> float:
    """Return the delay before a retry in seconds: exponential backoff with jitter.

    `attempt`: the number of the failed attempt, from 1. The delay is `first` seconds after the first attempt, and
    doubles with each attempt, up to MAX_DELAY_S. `random_part`, a random number from 0 to 1, adds up to a quarter, so
    that tasks that failed together are not retried together.
    """
    delay = min(first * 2 ** (attempt - 1), MAX_DELAY_S)
    return float(delay * (1 + random_part / 4))
