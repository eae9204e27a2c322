"""Diarization: the task and the result."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.wire import (
    AtLeast,
    AtMost,
    AudioFileId,
    Duration,
    End,
    Kind,
    Message,
    Model,
    Object,
    Order,
    Sha256,
    Speaker,
    Start,
    TaskId,
    Time,
    UserId,
    check_speakers,
)


class DiarizationTask(Order):
    """Asks who speaks when in a recording."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    min_speakers: AtLeast = None
    max_speakers: AtMost = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_speakers(self.min_speakers, self.max_speakers)
        return self


class Turn(Message):
    """A stretch of one speaker, in seconds from the start of the recording."""

    start: Start
    end: End
    speaker: Speaker


class DiarizationResult(Message):
    """Who speaks when."""

    kind: Literal[Kind.DIARIZATION] = Field(Kind.DIARIZATION, description="Tells the two kinds of results apart.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    speakers: int = Field(ge=0, description="How many speak.", examples=[2])
    segments: list[Turn] = Field(description="The turns, by time; turns of several speakers may overlap.")
    duration: Duration
    model: Model = Field(description="What made the result.")
    audio_sha256: Sha256
    cached: bool = Field(default=False, description="Whether an earlier result was used again.")
    object: Object | None = Field(
        None,
        description="Null, or where the whole result lies that is too large for a message; `segments` is empty then.",
    )
    created_at: Time = Field(description="When the result was made.")
