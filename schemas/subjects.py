"""The subjects of the contract: apart from examples, only this module has them as strings."""

from .wire import Kind, Lane, Priority

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

QUEUE_GROUP = "natscribe"  # of all workers, so that one worker gets each request

ALL_TASKS = "tasks.>"
ALL_PROGRESS = "progress.*"
ALL_SEGMENTS = "segments.*"
ALL_RESULTS = "results.*"
ALL_NO_RESULTS = "no_results.*"  # internal: markers of tasks that end without a result
ALL_OUTCOMES = "*.*"  # results and no_results, in the stream of results
ALL_LIVE_AUDIO = "live.audio.*"
ALL_DEAD_LETTERS = "dead_letters.*"
ALL_ACCEPTED = "accepted.tasks.>"  # the task stream republishes stored tasks on these subjects
ALL_REMINDERS = "retention.reminders.*.*.*"  # internal: of a user, a recording and a task
ALL_DUE = "retention.due.*.*.*"  # internal: due reminders

# Every inbox starts with one of these, whatever inbox prefix a client has. The server uses the second prefix for
# requests from other accounts; no client may use it.
_INBOXES = ("_INBOX", "_R_.")

PROGRESS_CHANNEL = "progress.{task_id}"
SEGMENTS_CHANNEL = "segments.{task_id}"
RESULTS_CHANNEL = "results.{task_id}"
DEAD_LETTERS_CHANNEL = "dead_letters.{kind}"
WINDOWS_CHANNEL = "windows.transcribe.{engine}"
LIVE_AUDIO_CHANNEL = "live.audio.{task_id}"
PARTIALS_CHANNEL = "partials.{task_id}"
FORGOTTEN_CHANNEL = "voices.forgotten.{voice}"


def tasks(lane: Lane, priority: Priority) -> str:
    """The subject of a task queue."""
    return f"tasks.{lane}.{priority}"


def queue_of(subject: str) -> tuple[Lane, Priority]:
    """The lane and the priority of the task queue with this subject.

    Raises:
        ValueError: No task queue has this subject.
    """
    _, lane, priority = subject.split(".")
    return Lane(lane), Priority(priority)


def tasks_channel(lane: Lane) -> str:
    """The address of the AsyncAPI channel for the tasks of one lane."""
    return f"tasks.{lane}.{{priority}}"


def accepted(lane: Lane) -> str:
    """The subjects on which the task stream republishes the tasks of one lane, of any priority."""
    return f"accepted.tasks.{lane}.*"


def accepted_channel(lane: Lane) -> str:
    """The address of the AsyncAPI channel on which the task stream republishes the tasks of one lane."""
    return f"accepted.tasks.{lane}.{{priority}}"


def append_to(subject: str) -> str:
    """The subject on which the service appends a message that a stream stores and republishes on `subject`."""
    return f"append.{subject}"


def progress(task_id: str) -> str:
    """The subject of the log of one task."""
    return f"progress.{task_id}"


def segments(task_id: str) -> str:
    """The subject of one task's segments, which are its checkpoint."""
    return f"segments.{task_id}"


def results(task_id: str) -> str:
    """The subject of the result of one task."""
    return f"results.{task_id}"


def no_results(task_id: str) -> str:
    """The subject of the marker that one task ends without a result."""
    return f"no_results.{task_id}"


def outcomes(task_id: str) -> str:
    """The wildcard for the outcome of a task: a message on `results` or on `no_results`, never on both."""
    return f"*.{task_id}"


def dead_letters(kind: Kind) -> str:
    """The subject of the dead letters of one kind."""
    return f"dead_letters.{kind}"


def live_audio(task_id: str) -> str:
    """The subject on which the frames of one live task are published."""
    return f"live.audio.{task_id}"


def partials(task_id: str) -> str:
    """The subject of the partial results of one live task."""
    return f"partials.{task_id}"


def forgotten(voice: str) -> str:
    """The subject of the event that a voice was forgotten."""
    return f"voices.forgotten.{voice}"


def windows(engine: str) -> str:
    """The subject of requests to transcribe a window; `engine` is a hash of the engine settings."""
    return f"windows.transcribe.{engine}"


def reminder(user: str, recording: str, task_id: str) -> str:
    """The subject of the reminder of an ended task; `user` and `recording` are tokens."""
    return f"retention.reminders.{user}.{recording}.{task_id}"


def due(user: str, recording: str, task_id: str) -> str:
    """The subject of a due reminder."""
    return f"retention.due.{user}.{recording}.{task_id}"


def all_reminders(user: str = "*", recording: str = "*", task_id: str = "*") -> str:
    """The subjects of reminders, whether they are due or not."""
    return f"retention.*.{user}.{recording}.{task_id}"


def is_inbox(subject: str) -> bool:
    """Whether the service may reply on a subject.

    A client chooses the reply subject, and the service may publish on subjects that are closed to the client: a log, or
    the API of JetStream, where an empty message can delete a stream.
    """
    return subject.startswith(_INBOXES)
