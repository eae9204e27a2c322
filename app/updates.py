"""What work on a task yields: progress updates, then the result; and the checkpoint that it starts from."""

from dataclasses import dataclass

from schemas.diarization import DiarizationResult, DiarizationTask
from schemas.errors import ErrorDetail
from schemas.progress import Stage
from schemas.transcription import Segment, Stretch, TranscriptionResult, TranscriptionTask

Task = TranscriptionTask | DiarizationTask
Result = TranscriptionResult | DiarizationResult


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What earlier attempts have transcribed: everything up to `processed_seconds` is done."""

    language: str | None = None  # of the last words
    channel: int | None = None  # the one that is transcribed now; those before it are done
    processed_seconds: float = 0.0
    segments: tuple[Segment, ...] = ()
    untranscribed: tuple[Stretch, ...] = ()
    audio_sha256: str | None = None
    diarization_error: ErrorDetail | None = None  # why this attempt must not look for speakers
    after_trouble: bool = False  # whether the worker before was lost or failed, perhaps over what it did last


@dataclass(frozen=True, slots=True)
class Found:
    """The text of a batch of windows: what follows the segments that were found before."""

    language: str | None
    processed_seconds: float  # of the channel
    segments: tuple[Segment, ...]
    audio_sha256: str
    channel: int | None = None
    untranscribed: tuple[Stretch, ...] = ()


@dataclass(frozen=True, slots=True)
class Update:
    """How far a stage is, in seconds of audio, and the text that has been found since the update before."""

    stage: Stage
    fraction: float  # 0..1, of the whole task
    processed_seconds: float | None = None
    duration_seconds: float | None = None
    found: Found | None = None


def processed(stage: Stage, seconds: float, duration: float | None, found: Found | None = None) -> Update:
    """Tell that a stage has done so many seconds of audio of those there are."""
    return Update(stage, min(seconds / duration, 1.0) if duration else 0.0, seconds, duration, found)
