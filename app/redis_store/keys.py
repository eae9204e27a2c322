"""The keys in Redis: three documented keys of each task, which any client may read, and keys for the service only."""

MARK = "natscribe:projection"  # exists once the projection has begun; missing in a new or emptied Redis


def info(task_id: str) -> str:
    """Return the key of the task's status as JSON."""
    return f"task:{task_id}:info"


def progress(task_id: str) -> str:
    """Return the key of the task's progress, 0..100."""
    return f"task:{task_id}:progress"


def result(task_id: str) -> str:
    """Return the key of the task's result as JSON."""
    return f"task:{task_id}:result"


def shown(task_id: str) -> str:
    """Return the key of the last projected event: when its stream was created, and its stream sequence."""
    return f"natscribe:task:{task_id}:shown"


def withdrawn(task_id: str) -> str:
    """Return the key that marks a cancelled or deleted task: its value is the sequence of the task message.

    While the key exists, the result of this task message is not written, and the cache takes no findings of the task.
    """
    return f"natscribe:task:{task_id}:withdrawn"


def voices(task_id: str) -> str:
    """Return the key of a hash: a task's analysed chunks of a diarization, by recording and chunk number."""
    return f"natscribe:task:{task_id}:voices"


def recordings(task_id: str) -> str:
    """Return the key of a hash: the SHA-256 of each recording of a task of which the cache has findings."""
    return f"natscribe:task:{task_id}:recordings"


def findings(audio_sha256: str) -> str:
    """Return the key of a hash: the findings of engines in a recording, by engine and options."""
    return f"natscribe:heard:{audio_sha256}"
