"""Progress events: the messages of a task's log, from `scheduled` or `queued` to the end of the task."""

from datetime import datetime, timezone
from typing import Annotated

from pydantic import Field

from .enums import DescribedEnum, of_any_version
from .errors import ErrorDetail
from .wire import Attempt, AudioFileId, Kind, Message, Priority, Seconds, TaskId, Time, UserId

MAX_EVENT_INTERVAL_S = 10.0  # a running task has an event at least this often
MIN_EVENT_INTERVAL_S = 1.0  # and at most one event in this time


class State(DescribedEnum):
    """Whether a task waits, runs or has ended, and how it ended."""

    SCHEDULED = "scheduled", "The task is stored, and waits until `not_before`."
    QUEUED = "queued", "The task is stored and waits for a worker."
    RUNNING = "running", f"A worker runs the task and appends an event at least every {MAX_EVENT_INTERVAL_S:g} s."
    RETRYING = "retrying", "An attempt failed for a temporary reason; the next attempt starts at `retry_at`."
    COMPLETED = "completed", "Final: the result is stored."
    FAILED = (
        "failed",
        "Final: `error` says why. Only a replay of its dead letter, if there is one, queues the task again.",
    )
    CANCELLED = "cancelled", "Final: a client cancelled the task; there is no result."

    @property
    def waits(self) -> bool:
        """Whether the task waits for a worker or for its `not_before`, as opposed to waiting for a retry."""
        return self in {State.SCHEDULED, State.QUEUED}

    @property
    def ended(self) -> bool:
        """Whether the state is final: `completed`, `failed` or `cancelled`; a failed task can still be replayed."""
        return self in {State.COMPLETED, State.FAILED, State.CANCELLED}


class Stage(DescribedEnum):
    """The step that a running task has reached."""

    FETCHING = "fetching", "Fetches the recording."
    DECODING = "decoding", "Determines the format and the duration of the recording."
    TRANSCRIBING = "transcribing", "Transcribes the audio."
    DIARIZING = "diarizing", "Finds who speaks when."
    MERGING = "merging", "Assigns speakers to words."


class TaskState(Message):
    """The state and the progress of a task, as its events, its status and its entry in a list report them."""

    task_id: TaskId
    kind: Kind = Field(description="Kind of the task.")
    state: Annotated[State, of_any_version(State)] = Field(description="State of the task.")
    stage: Annotated[Stage, of_any_version(Stage)] | None = Field(
        None,
        description="Current stage of a `running` task, or stage in which the last attempt of a `retrying` task "
        "failed; null in other states.",
    )
    progress: int = Field(
        0,
        ge=0,
        le=100,
        description="Completed part of the whole task in percent, over all stages. It never falls within an attempt; a "
        "new attempt may start lower. It is 100 only in the state `completed`.",
        examples=[47],
    )
    attempt: Attempt = 1
    duration_seconds: Seconds | None = Field(
        None, description="Duration of the audio in seconds; null until known.", examples=[61.5]
    )
    lag_seconds: Seconds | None = Field(
        None,
        description="Of a live task: seconds of stored audio that are not transcribed yet, without the utterance in "
        "progress; null for recordings.",
        examples=[1.2],
    )
    speakers: int | None = Field(
        None, ge=0, description="Number of speakers of a live task so far; null if unknown.", examples=[2]
    )
    eta_seconds: Seconds | None = Field(
        None, description="Estimated seconds until the end of the task; null if unknown.", examples=[9.2]
    )
    not_before: Time | None = Field(None, description="When a `scheduled` task may start; null in other states.")
    error: ErrorDetail | None = Field(None, description="Why the task is `retrying` or `failed`.")


class Waiting(Message):
    """What a task waits for: the tasks that start before it, or the time of its retry."""

    queue_position: Annotated[int, Field(ge=1, examples=[3])] | None = Field(
        None,
        description="Approximate position of a `queued` task among all waiting tasks; 1: the task is next. A task with "
        "a higher priority that is published later may still start earlier. Null in other states.",
    )
    seconds_ahead: Seconds | None = Field(
        None,
        description="Approximate seconds of audio of the waiting tasks that start before a `queued` task, from their "
        "headers `Natscribe-Audio-Seconds`. Null in other states, and if one of them has no such header.",
        examples=[5400.0],
    )
    retry_at: Time | None = Field(
        None, description="When the next attempt of a `retrying` task starts; null in other states."
    )


class ProgressEvent(Waiting, TaskState):  # the last base has the first fields
    """A change of a task's state, or its progress while it runs.

    The events of a task arrive in order: `sequence` counts from 1 without gaps. You may subscribe before or after you
    publish the task: an ordered consumer of the stream (deliver policy `all`) starts with the first event. `completed`,
    `failed` and `cancelled` are final. A running task has an event at least every 10 s and at most 1 event per second.
    """

    user_id: UserId | None = Field(
        None, description="Owner of the task; null if the message is not a valid task.", examples=[42]
    )
    audio_file_id: AudioFileId | None = Field(
        None, description="The recording; null if the message is not a valid task.", examples=["meeting.flac"]
    )
    priority: Priority | None = Field(None, description="Priority of the task, from its subject.")
    processed_seconds: Seconds | None = Field(
        None,
        description="Seconds of audio that the current stage has processed; each stage starts at 0.",
        examples=[28.4],
    )
    max_attempts: int = Field(ge=1, description="Largest number of attempts, after which the task fails.", examples=[4])
    sequence: int = Field(ge=1, description="Number of the event, from 1, without gaps, across attempts.", examples=[5])
    worker: str | None = Field(
        None,
        description="The worker that appended the event; null if no worker runs the task.",
        examples=["gpu-1-4711-9f3c"],
    )
    time: Time = Field(description="When the event happened.")


_REPEATED = ("task_id", "kind", "user_id", "audio_file_id", "priority", "attempt", "max_attempts")


def next_event(last: ProgressEvent, state: State, **fields: object) -> ProgressEvent:
    """Return the event that follows `last` in a task's log, with the new state.

    It has the task, priority and attempt of `last`. `fields`: further fields of the event, by name.
    """
    repeated = {name: getattr(last, name) for name in _REPEATED}
    added = {"state": state, "sequence": last.sequence + 1, "time": datetime.now(timezone.utc)}
    return ProgressEvent.model_validate(repeated | fields | added)
