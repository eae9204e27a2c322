"""The keys in Redis: three per task that others may read, and what the service keeps for itself."""

MARK = "natscribe:projection"


def info(task_id: str) -> str:
    """The task's status as JSON."""
    return f"task:{task_id}:info"


def progress(task_id: str) -> str:
    """The task's progress, 0..100."""
    return f"task:{task_id}:progress"


def result(task_id: str) -> str:
    """The task's result as JSON."""
    return f"task:{task_id}:result"


def shown(task_id: str) -> str:
    """When the stream was made, and in it the sequence of the last event that was shown."""
    return f"natscribe:task:{task_id}:shown"


def withdrawn(task_id: str) -> str:
    """For a while after a task was cancelled or deleted, the sequence of its message: its result must not come back."""
    return f"natscribe:task:{task_id}:withdrawn"


def voices(task_id: str) -> str:
    """How far the task's speakers are looked for, a hash: recording and chunk to what was found there."""
    return f"natscribe:task:{task_id}:voices"


def findings(audio_sha256: str) -> str:
    """What engines found in a recording, a hash: engine and options to what was found."""
    return f"natscribe:heard:{audio_sha256}"


def forgotten(audio_sha256: str) -> str:
    """Set for a while after a recording's task was deleted."""
    return f"natscribe:heard:{audio_sha256}:forgotten"
