"""Requests about tasks and dead letters, and the replies to them."""

from datetime import datetime, timedelta, timezone
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import to_json
from typing_extensions import Self

from .dead_letters import DeadLetter
from .diarization import DiarizationTask
from .enums import DescribedEnum
from .errors import ErrorCode
from .kinds import Task, read_task
from .live import LiveTask
from .progress import ProgressEvent, State, TaskState, Waiting
from .transcription import TranscriptionTask
from .wire import MAX_KEEP_S, Input, Kind, Message, Priority, TaskId, TaskType, Time, UserId

REPLY_TIMEOUT_S = 5.0  # how long clients wait for a reply
READ_WITHIN_S = REPLY_TIMEOUT_S - 1  # how long the service may read for a reply, so that a failure reaches the client
CURSOR_PATTERN = r"^(queue|ended|dead_letters)-[0-9]{1,18}$"


class TaskRequest(Input):
    """A request about one task: for its status, to cancel it or to delete it."""

    task_id: TaskId


class UserRequest(Input):
    """A request to delete all tasks and voices of a user."""

    user_id: UserId
    after: str | None = Field(
        None,
        pattern=CURSOR_PATTERN,
        description="Where to continue: `more_after` of the last reply; null: from the start.",
    )


class ResultFormat(DescribedEnum):
    """The file format of a result."""

    # Each format is written by the module of `natscribe.formats` that has its name.
    content_type: str  # the header of a reply in this format; the reply is bytes unless the type is text
    needs_text: bool  # whether the format cannot hold a diarization

    JSON = "json", "The result as it was published", "application/json"
    TXT = "txt", "The text without times, with speakers if the task requested them", "text/plain", True
    SRT = "srt", "SubRip subtitles", "text/plain", True
    VTT = "vtt", "WebVTT subtitles", "text/plain", True
    RTTM = "rttm", "Who speaks when, as NIST tools read it, only for results with speakers", "text/plain"
    HTML = "html", "An HTML page to read and play, which needs no other hosts", "text/html"

    def __new__(
        cls,
        word: str,
        meaning: str = "",
        content_type: str = "text/plain",
        needs_text: bool = False,  # noqa: FBT001, FBT002 -- a member
    ) -> Self:
        """Create a format with the value `word`, a description and the properties of its files.

        `needs_text`: whether only transcriptions can have this format, because a diarization has no text.
        """
        member = str.__new__(cls, word)
        member._value_, member.meaning = word, f"{meaning}: {content_type}."
        member.content_type, member.needs_text = content_type, needs_text
        return member

    @property
    def is_text(self) -> bool:
        """Whether the format is text, as opposed to binary."""
        return self.content_type.startswith("text/") or self is ResultFormat.JSON


class SubtitleLimits(Input):
    """Limits on the lines and cues of subtitles; formats other than `srt` and `vtt` ignore them."""

    max_line_chars: int = Field(
        42,
        ge=16,
        le=100,
        description="Maximum number of characters in a line of `srt` or `vtt`; a Chinese, Japanese or Korean "
        "character counts twice.",
    )
    max_lines: int = Field(2, ge=1, le=4, description="Maximum number of lines of an `srt` or `vtt` cue.")
    max_cue_seconds: float = Field(
        7.0, ge=2, le=60, description="Maximum duration of an `srt` or `vtt` cue, in seconds."
    )


class ResultRequest(SubtitleLimits, TaskRequest):
    """A request for the result of a task, in one of several formats."""

    format: ResultFormat = Field(ResultFormat.JSON, strict=False, description="Format of the result.")


class TaskSummary(TaskState):
    """What the status of a task and its entry in a list have in common."""

    priority: Priority = Field(description="Priority of the task.")
    worker: str | None = Field(
        None,
        description="The worker that runs the task, or that ended it; null if there is none.",
        examples=["gpu-1-4711-9f3c"],
    )
    created_at: Time = Field(description="When the task was stored: lists are sorted by this time.")
    started_at: Time | None = Field(None, description="When the first attempt started; null until then.")
    finished_at: Time | None = Field(None, description="When the task ended; null until then.")
    result_available: bool = Field(default=False, description="Whether `tasks.result` replies with a result.")


class TaskStatus(Waiting, TaskSummary):  # the last base has the first fields
    """The reply to a request for the status of a task: its state, progress and times."""

    task: DiarizationTask | TranscriptionTask | LiveTask | None = Field(
        description="The task as it was sent, without unset fields; null if the message is not a valid task."
    )

    @field_validator("task", mode="before")
    @classmethod
    def _of_any_version(cls, task: object, info: ValidationInfo) -> object:
        """Parse the field `task` of a status that was received as JSON.

        Fields of the task that a later version may have added are preserved.
        """
        if not isinstance(task, dict):
            return task
        task_type = TaskType(info.data.get("kind", Kind.TRANSCRIPTION)) if "audio_file_id" in task else TaskType.LIVE
        return read_task(task_type, to_json(task))


class Deleted(Message):
    """The reply to a deletion: the tasks and their recordings in the bucket are deleted.

    Recordings that other tasks also use are deleted, too.
    """

    deleted: Literal[True] = Field(default=True, description="Always true: a failed deletion replies with an error.")
    tasks: int = Field(1, ge=0, description="Number of deleted tasks.", examples=[1])
    more_after: str | None = Field(
        None,
        description="Not null if the request reached its time limit before all tasks of the user were deleted: send it "
        "again with this value as `after`.",
    )


class DeadLetterChoice(Input):
    """A selection of dead letters by exactly one criterion: the task, the kind of task, or the error code."""

    task_id: TaskId | None = Field(None, description="Selects the dead letter of this task.")
    kind: Kind | None = Field(None, strict=False, description="Selects all dead letters of this kind of task.")
    code: ErrorCode | None = Field(None, strict=False, description="Selects all dead letters with this error code.")

    @model_validator(mode="after")
    def _check_one_choice(self) -> Self:
        if [self.task_id, self.kind, self.code].count(None) != 2:  # noqa: PLR2004 -- two of the three
            message = "give exactly one of task_id, kind and code"
            raise ValueError(message)
        return self

    def chooses(self, letter: DeadLetter) -> bool:
        """Return whether this selection includes the dead letter `letter`."""
        return (
            self.task_id in (None, letter.task_id)
            and self.kind in (None, letter.kind)
            and self.code in (None, letter.error.code)
        )


class ReplayRequest(DeadLetterChoice):
    """A request to queue the tasks of dead letters again.

    Exactly one of `task_id`, `kind` and `code` selects the dead letters.
    """


class DeleteLettersRequest(DeadLetterChoice):
    """A request to delete dead letters; all other data of their tasks stays.

    Exactly one of `task_id`, `kind` and `code` selects the dead letters.
    """

    after: int = Field(
        0,
        ge=0,
        lt=2**63,
        description="Where to continue: `more_after` of the last reply; 0: from the first dead letter.",
    )


class Replayed(Message):
    """The reply to a request to replay dead letters."""

    replayed: int = Field(
        ge=0,
        description="Number of tasks that were queued again. It is lower than the number of selected dead letters if a "
        "task queue is full, a task cannot be replayed, or the request reaches its time limit.",
        examples=[1],
    )


class LettersDeleted(Message):
    """The reply to a request to delete dead letters."""

    deleted: int = Field(ge=0, description="Number of deleted dead letters.", examples=[2])
    more_after: int | None = Field(
        None,
        ge=0,
        description="Not null if the request reached its time limit before all dead letters were deleted: send it "
        "again with this value as `after`.",
    )


_REPEATED = TaskStatus.model_fields.keys() & ProgressEvent.model_fields.keys() - {"priority"}


def status_of(
    last: ProgressEvent, task: Task | None, priority: Priority, *, created_at: datetime, started_at: datetime | None
) -> TaskStatus:
    """Return the status of a task from its message and its log, i.e. its progress events.

    `last`: the last event of the log. `task`: None if the message is not a valid task. `created_at`: when the message
    was stored. `started_at`: when the first attempt started; None until then.
    """
    repeated = {name: getattr(last, name) for name in _REPEATED}
    is_stored = datetime.now(timezone.utc) - last.time < timedelta(seconds=MAX_KEEP_S)
    return TaskStatus(
        **repeated,
        task=task,
        priority=priority,
        created_at=created_at,
        started_at=started_at,
        finished_at=last.time if last.state.ended else None,
        result_available=last.state is State.COMPLETED and is_stored,
    )
