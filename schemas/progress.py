"""Progress events: the messages of a task's log."""

from datetime import datetime, timezone
from typing import Annotated

from pydantic import Field

from .errors import ErrorDetail
from .wire import (
    EXPECTED_START,
    QUEUE_POSITION,
    Attempt,
    AudioFileId,
    AudioSeconds,
    DescribedEnum,
    Kind,
    Lag,
    Message,
    Percent,
    Position,
    Priority,
    Remaining,
    Seconds,
    TaskId,
    Time,
    UserId,
    of_any_version,
)

MOST_BETWEEN_EVENTS_S = 10.0  # a running task has an event at least this often
LEAST_BETWEEN_EVENTS_S = 1.0  # and at most one event in this time


class State(DescribedEnum):
    """The state of a task."""

    QUEUED = "queued", "The task is stored and waits for a worker."
    RUNNING = "running", f"A worker runs the task and appends an event at least every {MOST_BETWEEN_EVENTS_S:g} s."
    RETRYING = "retrying", "An attempt failed for a reason that may pass; the next attempt starts at `retry_at`."
    COMPLETED = "completed", "Final: the result is there."
    FAILED = (
        "failed",
        "Final: `error` says why. Only the replay of its dead letter starts the task again, with `queued`.",
    )
    CANCELLED = "cancelled", "Final: a client cancelled the task; there is no result."

    @property
    def ended(self) -> bool:
        """Whether a task in this state has ended; only the replay of its dead letter starts a failed task again."""
        return self in {State.COMPLETED, State.FAILED, State.CANCELLED}


class Stage(DescribedEnum):
    """What the worker of a running task does now."""

    FETCHING = "fetching", "Reads the recording."
    DECODING = "decoding", "Finds the format and the length of the recording."
    TRANSCRIBING = "transcribing", "Writes the text."
    DIARIZING = "diarizing", "Finds who speaks when."
    MERGING = "merging", "Assigns speakers to the words."


StateOfTask = Annotated[State, of_any_version(State)]
StageOfTask = Annotated[
    Annotated[Stage, of_any_version(Stage)] | None,
    Field(
        description="What the worker does now or, for a `retrying` task, did when the attempt failed; null in other "
        "states."
    ),
]


class ProgressEvent(Message):
    """One event of a task's log."""

    task_id: TaskId
    kind: Kind = Field(description="Kind of the task.")
    user_id: UserId | None = Field(
        None, description="Owner of the task; null if the message is no valid task.", examples=[42]
    )
    audio_file_id: AudioFileId | None = Field(
        None, description="The recording; null if the message is no valid task.", examples=["meeting.flac"]
    )
    priority: Priority | None = Field(None, description="Priority of the task, as its subject says.")
    state: StateOfTask = Field(description="State of the task.")
    stage: StageOfTask = None
    progress: Percent = 0
    processed_seconds: Seconds | None = Field(
        None,
        description="Seconds of audio that the current stage has processed: each stage counts from 0.",
        examples=[28.4],
    )
    duration_seconds: AudioSeconds = None
    lag_seconds: Lag = None
    eta_seconds: Remaining = None
    attempt: Attempt = 1
    max_attempts: int = Field(ge=1, description="The task fails after this number of attempts.", examples=[4])
    sequence: int = Field(
        ge=1, description="Number of the event in the task's log, from 1, without gaps, across attempts.", examples=[5]
    )
    retry_at: Time | None = Field(
        None, description="When the next attempt of a `retrying` task starts; null in other states."
    )
    queue_position: Position | None = Field(None, description=QUEUE_POSITION)
    expected_start: Time | None = Field(None, description=EXPECTED_START)
    worker: str | None = Field(
        None,
        description="The worker that appended the event; null if no worker runs the task.",
        examples=["gpu-1-4711-9f3c"],
    )
    error: ErrorDetail | None = Field(None, description="Why the task is `retrying` or `failed`.")
    time: Time = Field(description="When the event happened.")


_REPEATED = ("task_id", "kind", "user_id", "audio_file_id", "priority", "attempt", "max_attempts")


def next_event(last: ProgressEvent, state: State, **fields: object) -> ProgressEvent:
    """Make the event that follows `last` in a task's log; `fields` are its values besides state, sequence and time."""
    repeated = {name: getattr(last, name) for name in _REPEATED}
    added = {"state": state, "sequence": last.sequence + 1, "time": datetime.now(timezone.utc)}
    return ProgressEvent.model_validate(repeated | fields | added)
