"""Progress: what happens to a task, one event after the other."""

from enum import StrEnum

from pydantic import Field

from schemas.errors import ErrorDetail
from schemas.wire import Kind, Message, Seconds, TaskId, Time


class State(StrEnum):
    """Where a task stands."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing follows (only a replayed dead letter opens a failed task again)."""
        return self in {State.COMPLETED, State.FAILED, State.CANCELLED}


class Stage(StrEnum):
    """What a running task is busy with."""

    FETCHING = "fetching"
    DECODING = "decoding"
    TRANSCRIBING = "transcribing"
    DIARIZING = "diarizing"
    MERGING = "merging"


class ProgressEvent(Message):
    """One entry of a task's log."""

    task_id: TaskId
    kind: Kind
    state: State
    stage: Stage | None = None
    progress: int = Field(0, ge=0, le=100, description="Percent; never falls within one attempt.")
    processed_seconds: Seconds | None = Field(None, description="Seconds of audio that the stage has done.")
    duration_seconds: Seconds | None = Field(None, description="Seconds of audio there are.")
    eta_seconds: Seconds | None = Field(None, description="Seconds until the end, as far as known.")
    attempt: int = Field(1, ge=1)
    max_attempts: int = Field(ge=1)
    sequence: int = Field(ge=1, description="Counts the task's events, without gaps.")
    retry_at: Time | None = None
    queue_position: int | None = Field(None, ge=1, description="1: the next to be served.")
    expected_start: Time | None = None
    worker: str | None = Field(None, description="Which worker says so.")
    error: ErrorDetail | None = None
    time: Time
