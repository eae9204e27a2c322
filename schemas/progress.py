"""Progress: what happens to a task, one event after the other."""

from pydantic import Field

from schemas.errors import ErrorDetail
from schemas.wire import EXPECTED_START, PLACE, Attempt, Kind, Message, Percent, Position, Seconds, TaskId, Term, Time


class State(Term):
    """Where a task stands."""

    QUEUED = "queued", "Stored, and waits for a worker."
    RUNNING = "running", "A worker is at it; heard from at least every 10 s."
    RETRYING = "retrying", "An attempt failed for a reason that may pass; the next begins at `retry_at`."
    COMPLETED = "completed", "Final: the result is there."
    FAILED = "failed", "Final: `error` says why; only a replayed dead letter opens the task again, with `queued`."
    CANCELLED = "cancelled", "Final: somebody asked for it; there is no result."

    @property
    def ended(self) -> bool:
        """Whether nothing follows (only a replayed dead letter opens a failed task again)."""
        return self in {State.COMPLETED, State.FAILED, State.CANCELLED}


class Stage(Term):
    """What a running task is busy with."""

    FETCHING = "fetching", "Reads the recording."
    DECODING = "decoding", "Looks into the recording."
    TRANSCRIBING = "transcribing", "Writes what is said."
    DIARIZING = "diarizing", "Finds who speaks when."
    MERGING = "merging", "Gives the words their speakers."


class ProgressEvent(Message):
    """One entry of a task's log."""

    task_id: TaskId
    kind: Kind = Field(description="Which kind of task it is.")
    state: State = Field(description="Where the task stands.")
    stage: Stage | None = Field(
        None,
        description="What a `running` task is busy with, or a `retrying` one was when it failed; null in other states.",
    )
    progress: Percent = 0
    processed_seconds: Seconds | None = Field(
        None,
        description="Seconds of audio that the present stage has done: each stage counts for itself.",
        examples=[28.4],
    )
    duration_seconds: Seconds | None = Field(
        None, description="Seconds of audio there are; null until that is known.", examples=[61.5]
    )
    eta_seconds: Seconds | None = Field(None, description="Seconds until the end, as far as known.", examples=[9.2])
    attempt: Attempt = 1
    max_attempts: int = Field(ge=1, description="After so many attempts the task fails.", examples=[4])
    sequence: int = Field(ge=1, description="Counts the task's events, without gaps, across attempts.", examples=[5])
    retry_at: Time | None = Field(None, description="When a `retrying` task is tried again; null in other states.")
    queue_position: Position | None = Field(None, description=PLACE)
    expected_start: Time | None = Field(None, description=EXPECTED_START)
    worker: str | None = Field(
        None, description="Which worker says so; null where none is at it.", examples=["gpu-1-4711-9f3c"]
    )
    error: ErrorDetail | None = Field(None, description="Why the task is `retrying` or `failed`.")
    time: Time = Field(description="When the event happened.")
