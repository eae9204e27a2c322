"""Fields that several types of tasks share."""

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from .wire import AtLeast, AtMost, AudioFileId, Input, KeepSeconds, TaskId, UserId

Identify = Annotated[
    bool,
    Field(
        description="Identify the speakers among the voices of the user: `voices` of the result has the names. Also "
        "store the speaker embeddings beside the result, so that voices can be enrolled from it. A transcription and "
        "a live task need `diarize` for it."
    ),
]
FORMATS = (  # of recordings, by FFmpeg's names: none of them names other files or addresses, as playlists do
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,m4a,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,oga,opus,"
    "rm,voc,w64,wav,webm"
)
IDENTIFY_NEEDS_DIARIZE = "identify: only speakers can be named, add diarize"


class TaskIdentity(Input):
    """The fields that identify a task, its recording and its user."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId


class SpeakerBounds(Input):
    """The minimum and maximum number of speakers in a recording, if known."""

    min_speakers: AtLeast = None
    max_speakers: AtMost = None

    @model_validator(mode="after")
    def _check_bounds(self) -> Self:
        if self.min_speakers is not None and self.max_speakers is not None and self.min_speakers > self.max_speakers:
            message = "min_speakers must not be above max_speakers"
            raise ValueError(message)
        return self


class RecordingTaskFields(SpeakerBounds, TaskIdentity):
    """The fields of all tasks about recordings."""

    keep_seconds: KeepSeconds = None
    identify: Identify = False
