"""Requests and their replies."""

from enum import StrEnum
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.diarization import DiarizationTask
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import Stage, State
from schemas.transcription import TranscriptionTask
from schemas.wire import Kind, Message, Order, TaskId, Time


class TaskRequest(Order):
    """Names the task that is meant."""

    task_id: TaskId


class ResultFormat(StrEnum):
    """How a result is written."""

    JSON = "json"
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    RTTM = "rttm"


class ResultRequest(Order):
    """Asks for a result in a format."""

    task_id: TaskId
    format: ResultFormat = Field(ResultFormat.JSON, strict=False)


class TaskStatus(Message):
    """Where a task stands."""

    task_id: TaskId
    kind: Kind
    task: DiarizationTask | TranscriptionTask | None = Field(
        union_mode="left_to_right",  # only a transcription has what a diarization refuses
        description="The task as it was sent; null: it was invalid.",
    )
    state: State
    stage: Stage | None = None
    progress: int = Field(ge=0, le=100)
    attempt: int = Field(ge=1)
    queue_position: int | None = None
    expected_start: Time | None = None
    error: ErrorDetail | None = None
    created_at: Time
    started_at: Time | None = None
    finished_at: Time | None = None
    result_available: bool = False


class Deleted(Message):
    """Nothing of the task is left."""

    deleted: Literal[True] = True


class ReplayRequest(Order):
    """Asks for dead letters to be tried again: exactly one of the three says which."""

    task_id: TaskId | None = None
    kind: Kind | None = Field(None, strict=False)
    code: ErrorCode | None = Field(None, strict=False)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if [self.task_id, self.kind, self.code].count(None) != 2:  # noqa: PLR2004 -- two of the three
            message = "give exactly one of task_id, kind and code"
            raise ValueError(message)
        return self


class Replayed(Message):
    """How many tasks were queued again."""

    replayed: int = Field(ge=0)
