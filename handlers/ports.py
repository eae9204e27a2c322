"""What the handlers need of the world."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

from schemas.diarization import DiarizationResult, DiarizationTask
from schemas.errors import ErrorCode, ErrorDetail
from schemas.progress import Stage
from schemas.requests import ResultRequest, TaskStatus
from schemas.sharing import WindowsOffered
from schemas.transcription import Segment, Stretch, TranscriptionResult, TranscriptionTask
from schemas.wire import Kind

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


News = Advanced | Found | Result


class Transcriber(Protocol):
    """Turns a recording into text."""

    def run(self, task: TranscriptionTask, checkpoint: Checkpoint) -> AsyncGenerator[News, None]:
        """Yield what is found from the checkpoint on, the result last (TaskError)."""
        ...


class Diarizer(Protocol):
    """Finds out who speaks when."""

    def run(self, task: DiarizationTask) -> AsyncGenerator[News, None]:
        """Yield how far it is, the result last (TaskError)."""
        ...


class Delivery(Protocol):
    """A task message that was handed to this worker: owns the end of its task's log until somebody else appends."""

    async def begin(self, task: Task) -> Checkpoint:
        """Own the task's next attempt, and where it goes on (AlreadyKnownError, OvertakenError, PermanentError)."""
        ...

    async def append(self, news: News) -> None:
        """Write news to the task's log (OvertakenError)."""
        ...


class AcceptedTasks(Protocol):
    """What the task stream has stored."""

    async def accept(self, task: Task, headers: Mapping[str, str]) -> None:
        """Open the log of a task that was stored a moment ago."""
        ...


class Tasks(Protocol):
    """What clients may ask about tasks; each may raise RequestError."""

    async def status(self, task_id: str) -> TaskStatus:
        """Where a task stands."""
        ...

    async def result(self, request: ResultRequest) -> Result | str:
        """The result of an ended task, as an object or as text."""
        ...

    async def cancel(self, task_id: str) -> TaskStatus:
        """End a task that has not ended yet."""
        ...

    async def delete(self, task_id: str) -> None:
        """Leave nothing of a task behind."""
        ...


class DeadLetters(Protocol):
    """What could not be done."""

    async def delete(
        self, *, task_id: str | None, kind: Kind | None, code: ErrorCode | None, after: int
    ) -> tuple[int, int | None]:
        """Remove the matching letters; how many, and behind which stream sequence to go on, None where all is done."""
        ...


class Replayer(Protocol):
    """Has tried again what could not be done."""

    async def replay(self, *, task_id: str | None, kind: Kind | None, code: ErrorCode | None) -> int:
        """Queue the matching tasks again; how many (RequestError)."""
        ...


class Sharing(Protocol):
    """The windows of one long recording, heard by many workers."""

    async def offered(self, offer: WindowsOffered) -> None:
        """Another worker asks for help: give it where there is nothing else to do."""
        ...
