"""The subjects of the contract: only this module, and examples, spell them."""

from schemas.wire import Kind, Priority

STATUS = "tasks.status"
RESULT = "tasks.result"
CANCEL = "tasks.cancel"
DELETE = "tasks.delete"
REPLAY = "dead_letters.replay"
DELETE_LETTERS = "dead_letters.delete"

ALL_TASKS = "tasks.>"
ALL_PROGRESS = "progress.*"
ALL_SEGMENTS = "segments.*"
ALL_RESULTS = "results.*"
ALL_NO_RESULTS = "no_results.*"  # the service's own: tasks that end without a result
ALL_DEAD_LETTERS = "dead_letters.*"
ALL_ACCEPTED = "accepted.tasks.>"  # where the task stream republishes what it stored
WINDOWS_OFFERED = "windows.offered"

PROGRESS_CHANNEL = "progress.{task_id}"
SEGMENTS_CHANNEL = "segments.{task_id}"
RESULTS_CHANNEL = "results.{task_id}"
DEAD_LETTERS_CHANNEL = "dead_letters.{kind}"


def tasks(kind: Kind, priority: Priority) -> str:
    """Where a task of this kind and priority is published."""
    return f"tasks.{kind}.{priority}"


def kind_of(subject: str) -> Kind:
    """The kind of the tasks on a subject.

    Raises:
        IndexError, ValueError: It is no subject of tasks.
    """
    return Kind(subject.split(".")[1])


def tasks_channel(kind: Kind) -> str:
    """The channel of the tasks of one kind."""
    return f"tasks.{kind}.{{priority}}"


def accepted(kind: Kind) -> str:
    """Where the task stream republishes the tasks of one kind, of any priority."""
    return f"accepted.tasks.{kind}.*"


def accepted_channel(kind: Kind) -> str:
    """The channel of the republished tasks of one kind."""
    return f"accepted.tasks.{kind}.{{priority}}"


def accepted_in(kind: Kind, priority: Priority) -> str:
    """Where the task stream republishes the tasks of one kind and priority."""
    return f"accepted.{tasks(kind, priority)}"


def append_to(subject: str) -> str:
    """Where the service appends what a stream stores as `subject` and republishes there."""
    return f"append.{subject}"


def progress(task_id: str) -> str:
    """The log of one task."""
    return f"progress.{task_id}"


def segments(task_id: str) -> str:
    """The checkpoint of one task."""
    return f"segments.{task_id}"


def results(task_id: str) -> str:
    """The result of one task."""
    return f"results.{task_id}"


def no_results(task_id: str) -> str:
    """What forbids that a result of one task is stored: the task ends without one."""
    return f"no_results.{task_id}"


def outcomes(task_id: str) -> str:
    """The result of one task, or what forbids it: whichever is stored first."""
    return f"*.{task_id}"


def dead_letters(kind: Kind) -> str:
    """Where the dead letters of one kind are stored."""
    return f"dead_letters.{kind}"


def windows_inbox(worker: str) -> str:
    """Where one worker receives messages about windows; `worker` is its token."""
    return f"windows.inbox.{worker}"
