"""The checkpoint with which a transcriber or diarizer begins, and the updates that it appends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from natscribe.schemas import kinds
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Interval, Segment
from natscribe.schemas.windows import WindowText

Task = kinds.Task
Result = kinds.Result


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What earlier attempts have transcribed: all audio up to `processed_seconds`."""

    language: str | None = None  # language of the last words
    channel: int | None = None  # the channel to go on with; channels with a lower number are done
    processed_seconds: float = 0.0
    segments: tuple[Segment, ...] = ()
    untranscribed: tuple[Interval, ...] = ()
    audio_sha256: str | None = None
    reached: Mapping[int | None, float] = field(default_factory=dict)  # for each channel, its processed seconds
    audio_offset: str | None = None  # of a live task: from which frame its sound is read
    diarization_error: ErrorDetail | None = None  # if set, the reason why this attempt skips diarization
    after_trouble: bool = False  # whether the previous attempt failed or was lost, perhaps because of its last work


@dataclass(frozen=True, slots=True)
class Update:
    """How much of a task is done, and the text found since the previous update."""

    stage: Stage
    fraction: float  # done part of the whole task, 0..1
    processed_seconds: float | None = None  # audio that the stage has processed
    duration_seconds: float | None = None  # audio of the whole recording
    text: WindowText | None = None
    lag_seconds: float | None = None  # of a live task: published sound that is behind the text
    waits: bool = False  # for the client's sound: so a live task does not stand still, though nothing changes
    audio_sha256: str = ""  # of the recording that the text belongs to
    embeddings: bytes | None = None  # of the speakers, as JSON: kept as long as the result
    audio_offset: str | None = None  # of a live task: from which frame another worker reads its sound


Append = Callable[[Update], Awaitable[None]]  # appends to the task's log


def processed(
    stage: Stage, seconds: float, duration: float | None, *, channel: int | None = None, channels: int = 1
) -> Update:
    """Make an update: a stage has processed `seconds` of a recording that is `duration` seconds long.

    If the channels are processed one after the other, `seconds` are those of `channel`, and the update counts over all.
    """
    if channel is not None:
        seconds = (channel * (duration or 0.0) + seconds) / channels
    return Update(stage, min(seconds / duration, 1.0) if duration else 0.0, seconds, duration)
