"""The keys in Redis: three per task that anybody may read, and those that only the service uses."""

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
    """When the stream of progress events was made, and the sequence of the last event that was projected."""
    return f"natscribe:task:{task_id}:shown"


def withdrawn(task_id: str) -> str:
    """The sequence of a cancelled or deleted task's message, for a while: its result must not be written again."""
    return f"natscribe:task:{task_id}:withdrawn"


def voices(task_id: str) -> str:
    """A hash of the analysed chunks of a task's diarization, by recording and number of the chunk."""
    return f"natscribe:task:{task_id}:voices"


def findings(audio_sha256: str) -> str:
    """A hash of what engines have found in a recording, by engine and options."""
    return f"natscribe:heard:{audio_sha256}"


def forgotten(audio_sha256: str) -> str:
    """Set for a while after a task with this recording was deleted."""
    return f"natscribe:heard:{audio_sha256}:forgotten"
