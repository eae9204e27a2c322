"""The NATS subjects of the service; other modules take them from here.

An argument in braces, such as `{task_id}`, yields the address of a channel in the AsyncAPI document. The argument `*`
yields a wildcard subject, e.g. for all tasks.
"""

from typing import Literal

from .wire import Kind, Priority, TaskType

STATUS = "tasks.status"
RESULT = "tasks.result"
LIST = "tasks.list"
TASK_QUEUES = "tasks.queue"
WORKERS = "workers.info"
CANCEL = "tasks.cancel"
DELETE = "tasks.delete"
REPLAY = "dead_letters.replay"
DELETE_LETTERS = "dead_letters.delete"
ENROLL = "voices.enroll"
VOICES = "voices.list"
RENAME = "voices.rename"
FORGET = "voices.forget"
REDACT = "text.redact"

QUEUE_GROUP = "natscribe"  # of all workers, so that one worker gets each request

ALL_TASKS = "tasks.>"
ALL_ACCEPTED = "accepted.tasks.>"  # the task stream republishes stored tasks on these subjects
ALL_REMINDERS = "retention.reminders.*.*.*"  # internal: of a user, a recording and a task
ALL_DUE = "retention.due.*.*.*"  # internal: due reminders
ALL_READY = "ready.*.*"  # internal: grants, by pool of slots and sequence of the task message
REMOVED = "scheduler.removed"  # internal: a task message was deleted
POSITIONS = "scheduler.positions"  # internal: request for the positions of waiting tasks

# Every inbox starts with one of these, whatever inbox prefix a client has. The server uses the second prefix for
# requests from other accounts; no client may use it.
_INBOXES = ("_INBOX", "_R_.")


def tasks(task_type: TaskType, priority: Priority | Literal["{priority}"]) -> str:
    """Return the subject of a task queue, i.e. of the tasks of one task type and one priority.

    `priority`: a priority, or `{priority}` for the address of the queue's channel in the AsyncAPI document.
    """
    return f"tasks.{task_type}.{priority}"


def queue_of(subject: str) -> tuple[TaskType, Priority]:
    """Return the type of the tasks and the priority of the task queue with this subject.

    Raises:
        ValueError: No task queue has this subject.
    """
    _, task_type, priority = subject.split(".")
    return TaskType(task_type), Priority(priority)


def accepted(task_type: TaskType, priority: str = "*") -> str:
    """Return the subject on which the task stream republishes tasks once they are stored; `*`: of any priority."""
    return f"accepted.tasks.{task_type}.{priority}"


def append_to(subject: str) -> str:
    """Return the append subject of `subject`: a message that is published there is stored and republished on `subject`.

    Only the service may publish on append subjects.
    """
    return f"append.{subject}"


def progress(task_id: str) -> str:
    """Return the subject of a task's log, i.e. of its progress events."""
    return f"progress.{task_id}"


def segments(task_id: str) -> str:
    """Return the subject of a task's segments, i.e. of the parts of its transcript."""
    return f"segments.{task_id}"


def speakers(task_id: str) -> str:
    """Return the subject of events that change the speakers of a live task's segments after their publication."""
    return f"speakers.{task_id}"


def results(task_id: str) -> str:
    """Return the subject of a task's result."""
    return f"results.{task_id}"


def erased(task_id: str) -> str:
    """Return the subject of the event that the data of a task were erased."""
    return f"erased.{task_id}"


def no_results(task_id: str) -> str:
    """Return the subject of the marker that is stored instead of a result if a task ends without one."""
    return f"no_results.{task_id}"


def outcomes(task_id: str) -> str:
    """Return the wildcard subject for the outcome of a task: its result, or the marker that it has none."""
    return f"*.{task_id}"


def dead_letters(kind: Kind | Literal["*", "{kind}"]) -> str:
    """Return the subject of the dead letters of one kind of task."""
    return f"dead_letters.{kind}"


def live_audio(task_id: str) -> str:
    """Return the subject on which a client publishes the audio frames of a live task."""
    return f"live.audio.{task_id}"


def partials(task_id: str) -> str:
    """Return the subject of the partial results of a live task."""
    return f"partials.{task_id}"


def turns(task_id: str) -> str:
    """Return the subject of the turns events of a live task."""
    return f"turns.{task_id}"


def forgotten(voice: str) -> str:
    """Return the subject of the event that an enrolled voice was deleted."""
    return f"voices.forgotten.{voice}"


def windows(engine: str) -> str:
    """Return the subject on which a worker requests that an idle worker transcribe a part of a recording.

    `engine`: the hash of the model and engine settings, which must be the same on both workers.
    """
    return f"windows.transcribe.{engine}"


def reminder(user: str, recording: str, task_id: str) -> str:
    """Return the subject of a scheduled message, which reminds the service to erase the data of an ended task.

    `user`, `recording`: hashes or other NATS tokens that stand for the user and the recording.
    """
    return f"retention.reminders.{user}.{recording}.{task_id}"


def due(user: str, recording: str, task_id: str) -> str:
    """Return the subject on which JetStream stores a reminder at the time for which it was scheduled.

    A reminder is a message that tells the service to erase the data of an ended task; for the arguments see `reminder`.
    """
    return f"retention.due.{user}.{recording}.{task_id}"


def all_reminders(user: str = "*", recording: str = "*", task_id: str = "*") -> str:
    """Return the wildcard subject for all reminders of a user, a recording or a task, both scheduled and due ones.

    A reminder is a scheduled message that tells the service to erase the data of an ended task. For the arguments see
    `reminder`; `*` stands for any user, recording or task.
    """
    return f"retention.*.{user}.{recording}.{task_id}"


def ready(pool: str, sequence: int | str) -> str:
    """Return the subject of a grant, the message that lets a worker start a task.

    `pool`: the slots that the task needs, "recordings" or "live"; each slot of a worker runs one task at a time.
    `sequence`: the stream sequence of the task message, or `*` for all grants.
    """
    return f"ready.{pool}.{sequence}"


def is_inbox(subject: str) -> bool:
    """Whether a reply subject is an inbox, so that the service may reply there.

    A client chooses the reply subject of its request, and the service may publish on subjects that are closed to the
    client: a task's log, or the API of JetStream, where an empty message can delete a stream.
    """
    return subject.startswith(_INBOXES)
