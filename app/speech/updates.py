"""The checkpoint from which an attempt at a task resumes, and the updates that it appends to the task's log."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from natscribe.schemas import kinds
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import SpeakerChanges, SpeakersEvent
from natscribe.schemas.progress import Stage
from natscribe.schemas.redaction import SpokenEntity
from natscribe.schemas.transcription import Interval, Segment

from app.engines.windows import WindowText

Task = kinds.Task
Result = kinds.Result


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What earlier attempts at a task have stored, from which the next attempt continues.

    `segments`, `untranscribed`, `entities`: the text so far, the speech without text, and what is replaced. All audio
    of `channel` up to `processed_seconds` is transcribed. The channels of a live task are transcribed at the same time:
    see `reached`.
    """

    language: str | None = None  # language of the last words
    channel: int | None = None  # the channel to resume with; channels with a lower number are done
    processed_seconds: float = 0.0
    segments: tuple[Segment, ...] = ()
    untranscribed: tuple[Interval, ...] = ()
    entities: tuple[SpokenEntity, ...] = ()
    audio_sha256: str | None = None  # of the recording; None: no text is stored yet
    reached: Mapping[int | None, float] = field(default_factory=dict)  # processed seconds of each channel
    audio_offset: str | None = None  # of a live task: the frame from which to read its audio
    speaker_state: str = ""  # of a live task: what the engine needs to recognize the speakers so far
    speaker_changes: tuple[SpeakersEvent, ...] = ()  # of a live task: changes of speakers, detected after the segments
    diarization_error: ErrorDetail | None = None  # if set, this attempt skips diarization for this reason
    after_failure: bool = False  # whether the previous attempt failed or was lost, perhaps because of its work


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running task is; appended to its log at most once a second."""

    stage: Stage
    fraction: float  # of the whole task that is done, 0..1
    processed_seconds: float | None = None  # audio that the stage has processed
    duration_seconds: float | None = None  # of the whole recording
    lag_seconds: float | None = None  # of a live task: duration of the stored audio that is not transcribed yet
    speaker_count: int | None = None  # of a live task: number of speakers so far
    waits_for_audio: bool = False  # whether a live task makes no progress only because its client sends no audio


@dataclass(frozen=True, slots=True)
class NewText:
    """The text of the next windows, stored at once as a segments event; the task's progress follows it."""

    text: WindowText
    audio_sha256: str = ""  # of the recording: a later attempt fails if the recording was replaced meanwhile
    audio_offset: str | None = None  # of a live task: the frame from which another worker resumes
    finalized: tuple[str, ...] = ()  # of a live task: marks whose text is complete with this one


@dataclass(frozen=True, slots=True)
class SpeakerState:
    """The state of a live task's diarization, stored in a bucket for another worker that continues the task."""

    state: str


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embeddings of a task's speakers as JSON, stored in a bucket as long as the result."""

    content: bytes


@dataclass(frozen=True, slots=True)
class RedactedAudio:
    """A recording without personal data, stored as long as the result."""

    path: Path
    sha256: str  # in hex


TaskUpdate = Progress | NewText | SpeakerChanges | SpeakerState | Embeddings | RedactedAudio
Append = Callable[[TaskUpdate], Awaitable[None]]  # appends to the task's log


def processed(
    stage: Stage, seconds: float, duration: float | None, *, channel: int | None = None, channels: int = 1
) -> Progress:
    """Return the progress of a stage: `seconds` of the `duration` of a recording are processed.

    `duration`: in seconds; None: unknown, and a progress of 0 is reported. `channel`: if channels are processed one
    after the other, the number of the current one, from 0; then `seconds` counts only this channel, and it
    is the progress over all `channels`.
    """
    if channel is not None:
        seconds = (channel * (duration or 0.0) + seconds) / channels
    return Progress(stage, min(seconds / duration, 1.0) if duration else 0.0, seconds, duration)
