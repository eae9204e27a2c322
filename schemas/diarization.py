"""The task and the result of a diarization."""

from typing import Literal

from pydantic import Field

from .task_fields import RecordingTaskFields
from .voices import SpeakerVoices, VoicesError
from .wire import AudioFileId, Duration, End, Kind, Message, Model, Object, Sha256, Speaker, Start, TaskId, Time, UserId


class DiarizationTask(RecordingTaskFields):
    """A request to detect who speaks when in a recording."""


class Turn(Message):
    """An interval of a recording in which one speaker speaks."""

    start: Start
    end: End
    speaker: Speaker


class DiarizationResult(Message):
    """The result of a diarization: when each speaker speaks."""

    kind: Literal[Kind.DIARIZATION] = Field(Kind.DIARIZATION, description="Distinguishes the two kinds of results.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    speakers: int = Field(ge=0, description="Number of speakers.", examples=[2])
    segments: list[Turn] = Field(description="The turns, sorted by time; turns of different speakers may overlap.")
    duration: Duration
    voices: SpeakerVoices = None
    voices_error: VoicesError = None
    model: Model = Field(description="The model that computed the result.")
    audio_sha256: Sha256
    cached: bool = Field(default=False, description="Whether the result comes from the cache.")
    object: Object | None = Field(
        None,
        description="The object with the whole result if it is too large for a message; `segments` is empty then. "
        "Null: this message is the whole result.",
    )
    created_at: Time = Field(description="When the result was computed.")
