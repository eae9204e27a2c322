"""The fields that tasks of both kinds have."""

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from .wire import AtLeast, AtMost, AudioFileId, Input, KeepSeconds, TaskId, UserId

Identify = Annotated[
    bool,
    Field(
        description="Find out which of the user's voices the speakers have, `voices` of the result says so; and keep "
        "the speakers' embeddings beside the result, to enrol voices from. A transcription and a live task need "
        "`diarize` for it."
    ),
]
FORMATS = (  # of recordings, by FFmpeg's names: none of them names other files or addresses, as playlists do
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,m4a,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,oga,opus,"
    "rm,voc,w64,wav,webm"
)
IDENTIFIES_SPEAKERS = "identify: only speakers can be named, add diarize"


class TaskNames(Input):
    """The fields that name a task, its recording and its user."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId


class SpeakerBounds(Input):
    """The fields that bound the number of speakers."""

    min_speakers: AtLeast = None
    max_speakers: AtMost = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min_speakers is not None and self.max_speakers is not None and self.min_speakers > self.max_speakers:
            message = "min_speakers must not be above max_speakers"
            raise ValueError(message)
        return self


class AnyTask(SpeakerBounds, TaskNames):
    """A task of any kind."""

    keep_seconds: KeepSeconds = None
    identify: Identify = False
