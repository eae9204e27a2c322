"""Fields that several types of tasks share."""

import re
from datetime import datetime, timedelta, timezone
from typing import Annotated, Final

from pydantic import AwareDatetime, Field, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from typing_extensions import Self

from .wire import AtLeast, AtMost, AudioFileId, Input, KeepSeconds, TaskId, UserId, parse_time

Identify = Annotated[
    bool,
    Field(
        description="Compare the speakers with the voices that the user has enrolled: `voices` of the result names "
        "those who are recognized. The speaker embeddings are stored as long as the result, so that its speakers can "
        "be enrolled as voices. A transcription or a live task also needs `diarize`."
    ),
]
FORMATS = (  # of recordings, by FFmpeg's names: none of them names other files or addresses, as playlists do
    "3gp,aac,ac3,aiff,amr,amrnb,amrwb,asf,au,avi,caf,eac3,flac,flv,m4a,matroska,mov,mp3,mp4,mpeg,mpegts,ogg,oga,opus,"
    "rm,voc,w64,wav,webm"
)
MAX_AHEAD: Final = timedelta(days=366)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE)
_TIME_ADVICE: Final = "write a time with its zone as in RFC 3339, like 2026-11-24T18:40:44Z, at most a year ahead"
IDENTIFY_NEEDS_DIARIZE = "identify: only speakers can be named, add diarize"


def _time_of_start(value: object, parse: ValidatorFunctionWrapHandler) -> datetime:
    """Parse a time in RFC 3339; other notations, which pydantic accepts, too, are refused.

    Raises:
        ValueError: The value is no such time, or is more than MAX_AHEAD in the future.
    """
    try:
        is_time = isinstance(value, datetime) or (isinstance(value, str) and _TIME.fullmatch(value))
        time = parse_time(value, parse) if is_time else None
    except ValueError:
        time = None
    if time is None or time - datetime.now(timezone.utc) > MAX_AHEAD:
        raise ValueError(_TIME_ADVICE)
    return time


NotBefore = Annotated[
    Annotated[AwareDatetime, Field(strict=False), WrapValidator(_time_of_start)] | None,
    Field(
        description="Earliest start of the task, at most a year from now: until then its state is `scheduled`. A time "
        "in the past means now. The recording need not exist before this time.",
        examples=["2026-11-24T22:00:00+01:00"],
    ),
]


class TaskIdentity(Input):
    """The fields that identify a task, its recording and its user."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId = Field(description="Owner of the task, repeated in its result.")


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
    """The fields that transcription and diarization tasks have in common, as opposed to live tasks."""

    keep_seconds: KeepSeconds = None
    not_before: NotBefore = None
    identify: Identify = False
