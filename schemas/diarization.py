"""Diarization: the task and the result."""

from typing import Literal

from pydantic import Field

from .errors import ErrorDetail
from .tasks import AnyTask
from .voices import SpeakerVoice
from .wire import AudioFileId, Duration, End, Kind, Message, Model, Object, Sha256, Speaker, Start, TaskId, Time, UserId


class DiarizationTask(AnyTask):
    """Asks who speaks when in a recording."""


class Turn(Message):
    """One turn of one speaker, in seconds from the start of the recording."""

    start: Start
    end: End
    speaker: Speaker


class DiarizationResult(Message):
    """The result of a diarization: who speaks when."""

    kind: Literal[Kind.DIARIZATION] = Field(Kind.DIARIZATION, description="Distinguishes the two kinds of results.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    speakers: int = Field(ge=0, description="Number of speakers.", examples=[2])
    segments: list[Turn] = Field(description="The turns in order of time; turns of different speakers may overlap.")
    duration: Duration
    voices: dict[str, SpeakerVoice] | None = Field(
        None,
        description="For each speaker whose voice it is; nobody is named twice. Null if the task did not ask, or if "
        "the speakers could not be compared.",
    )
    voices_error: ErrorDetail | None = Field(
        None, description="Why names are missing although the task asked for them; the rest of the result is complete."
    )
    model: Model = Field(description="The model that made the result.")
    audio_sha256: Sha256
    cached: bool = Field(default=False, description="Whether the result comes from the cache.")
    object: Object | None = Field(
        None,
        description="Where the whole result is stored if it is too large for a message; `segments` is empty then. "
        "Null: this message is the whole result.",
    )
    created_at: Time = Field(description="When the result was made.")
