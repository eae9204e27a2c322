"""The keys in Redis: three documented keys for each task, which any client may read, and keys for the service only."""

import json
from hashlib import sha256
from typing import Final

# The mark exists once the projection has started; it is missing in a new or emptied Redis. The number is the version of
# the projection's format: after a change of the format, everything is projected again.
MARK: Final = "natscribe:projection:2"
ANYBODY: Final = "*"  # in the name of a task list: all users
NO_USER: Final = "-"  # in place of a user, for a task message without a valid user
USER_DIGITS: Final = 32  # hexadecimal digits of a user's hash, enough for no two users to have the same
NEVER_WRITTEN: Final = "natscribe:never_written"  # a write that needs this key to exist changes nothing
LISTED: Final = "natscribe:listed"  # a sorted set of all listed tasks, by the time at which their keys may expire


def info(task_id: str) -> str:
    """Return the key of the task's status as JSON."""
    return f"task:{task_id}:info"


def progress(task_id: str) -> str:
    """Return the key of the task's progress in percent, 0 to 100."""
    return f"task:{task_id}:progress"


def result(task_id: str) -> str:
    """Return the key of the task's result as JSON."""
    return f"task:{task_id}:result"


def projected(task_id: str) -> str:
    """Return the key that stores which event of a task was written to Redis last.

    Its value consists of the stream sequence of that event, of the task's entry in the task lists (cursor, user and
    state, or `-` if the task was deleted), and of the time at which the progress stream was created.
    """
    return f"natscribe:task:{task_id}:projected"


def task_list(user: str, state: str) -> str:
    """Return the key of a sorted set: the tasks in one state, of one user or (for ANYBODY) of all users."""
    return f"natscribe:tasks:{user}:{state}"


def user(user_id: int | str) -> str:
    """Return the hash that stands for a user in the key of a task list; `1` and `"1"` are two users."""
    return sha256(json.dumps(user_id).encode()).hexdigest()[:USER_DIGITS]


def tombstone(task_id: str) -> str:
    """Return the key that marks a task as cancelled or deleted; its value is the stream sequence of the task message.

    While the key exists, for some minutes, the result of this task message is not written to Redis, and the cache
    stores no results of the task.
    """
    return f"natscribe:task:{task_id}:withdrawn"


def chunks(task_id: str) -> str:
    """Return the key of a hash with the analyses of a recording's chunks, by recording and chunk number.

    A chunk is about a minute of a recording; it is analysed for diarization.
    """
    return f"natscribe:task:{task_id}:chunks"


def cached_recordings(task_id: str) -> str:
    """Return the key of a hash whose fields are the SHA-256 of those recordings of a task that have cached results."""
    return f"natscribe:task:{task_id}:recordings"


def cached_results(audio_sha256: str) -> str:
    """Return the key of a hash with the cached transcripts and speaker turns of a recording, by engine and options."""
    return f"natscribe:heard:{audio_sha256}"
