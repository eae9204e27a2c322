"""What work on a task yields: progress updates, and the checkpoint that it goes on from."""

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

    language: str | None = None  # spoken last
    channel: int | None = None  # the one that is being transcribed; those before it are done
    processed_seconds: float = 0.0
    segments: tuple[Segment, ...] = ()
    untranscribed: tuple[Stretch, ...] = ()
    audio_sha256: str | None = None
    diarization_error: ErrorDetail | None = None  # why this attempt is not to look for speakers
    after_trouble: bool = False  # the worker before was lost, or failed: what it did last may have been why


@dataclass(frozen=True, slots=True)
class Advanced:
    """News: a stage has got on, in seconds of audio; `fraction` is the part of the whole task that is done."""

    stage: Stage
    fraction: float
    processed_seconds: float | None = None
    duration_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """News: a batch of windows was transcribed."""

    language: str | None
    processed_seconds: float
    segments: tuple[Segment, ...]
    audio_sha256: str
    channel: int | None = None
    untranscribed: tuple[Stretch, ...] = ()


def processed(stage: Stage, seconds: float, duration: float | None) -> Advanced:
    """A stage has done so many seconds of audio of those there are."""
    return Advanced(stage, min(seconds / duration, 1.0) if duration else 0.0, seconds, duration)


News = Advanced | Found | Result
