"""The request to list tasks, and the reply to it."""

from datetime import datetime, timedelta, timezone

from pydantic import Field

from .progress import State
from .requests import TaskStatus, TaskSummary
from .wire import AudioFileId, Input, Message, UserId

MAX_LISTED_TASKS = 200  # tasks in one reply
CURSOR_DIGITS = 22  # of the time in microseconds, and of the stream sequence
LISTED_CURSOR_PATTERN = rf"^[0-9]{{{CURSOR_DIGITS}}}-[A-Za-z0-9_-]{{1,64}}$"
_EPOCH = datetime.fromtimestamp(0, timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_SEQUENCES = 10**6  # no two tasks of one microsecond have the same last digits of their stream sequences


class ListRequest(Input):
    """A request to list tasks, the newest first: all tasks, or only those of one user, in one state, or both."""

    user_id: UserId | None = Field(None, description="Only tasks of this user; null: of all users.", examples=[42])
    state: State | None = Field(None, strict=False, description="Only tasks in this state; null: in any state.")
    limit: int = Field(50, ge=1, le=MAX_LISTED_TASKS, description="Maximum number of tasks in the reply.")
    before: str | None = Field(
        None,
        pattern=LISTED_CURSOR_PATTERN,
        description="Where to continue: `more_before` of the last reply; null: from the newest task.",
    )


class ListedTask(TaskSummary):
    """One task in a list of tasks: its status in short form."""

    user_id: UserId | None = Field(description="Owner of the task; null if the message is not a valid task.")
    audio_file_id: AudioFileId | None = Field(
        description="Name of the recording; null if the message is not a valid task."
    )


class TaskPage(Message):
    """The reply to a request to list tasks: one page of the list, the newest task first."""

    tasks: list[ListedTask] = Field(description="The tasks, the newest first.")
    more_before: str | None = Field(
        None,
        description="Not null if there may be older tasks: send the request again with this value as `before`.",
        examples=["1795595445000000000112-meeting-2026-11-24"],
    )


def cursor_of(task_id: str, created_at: datetime, sequence: int) -> str:
    """Return the cursor of a task, which marks its place in lists of tasks; a newer task has a greater cursor.

    `created_at`, `sequence`: time and stream sequence of the task message.
    """
    stored_us = (created_at - _EPOCH) // _MICROSECOND
    return f"{stored_us:016d}{sequence % _SEQUENCES:06d}-{task_id}"


def listed(status: TaskStatus) -> ListedTask:
    """Return the short form of a task's status for a list."""
    task = status.task
    return ListedTask(
        **{name: getattr(status, name) for name in TaskSummary.model_fields},
        user_id=None if task is None else task.user_id,
        audio_file_id=None if task is None else task.audio_file_id,
    )
