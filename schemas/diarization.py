"""Diarization: the task and the result."""

from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.wire import (
    AudioFileId,
    Kind,
    Message,
    Model,
    Object,
    Order,
    Seconds,
    Sha256,
    Speaker,
    Speakers,
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
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_speakers(self.min_speakers, self.max_speakers)
        return self


class Turn(Message):
    """A stretch of one speaker, in seconds from the start of the recording."""

    start: Seconds
    end: Seconds
    speaker: Speaker


class DiarizationResult(Message):
    """Who speaks when."""

    kind: Literal[Kind.DIARIZATION] = Kind.DIARIZATION
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    speakers: int = Field(ge=0, description="How many speak.")
    segments: list[Turn]
    duration: Seconds
    model: Model
    audio_sha256: Sha256
    cached: bool = False
    object: Object | None = Field(None, description="Where the whole result lies; `segments` is empty then.")
    created_at: Time
