"""What a worker and its engine process say to each other, one JSON object a line.

The worker begins with one `Setup`; then each `Job` is answered by any number of replies, the last of which is one of
`LAST_REPLIES`.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from schemas.diarization import Turn
from schemas.errors import ErrorDetail
from schemas.progress import Stage
from schemas.transcription import Segment
from schemas.wire import Model, Speakers


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Setup(_Line):
    """The first line: what all jobs have in common."""

    parent: int = Field(description="The worker's process id: the engine process dies with it.")
    model: str | None = Field(None, description="Name or folder where the job names none; null: the bundled one.")
    models_dir: Path | None = None
    threads: int = 1
    max_seconds: float
    diarization_max_seconds: float
    max_decode_seconds: float


class Transcribe(_Line):
    """Job: the text of a recording, from `start_at` seconds on; `words`: with the time of each word."""

    type: Literal["transcribe"] = "transcribe"
    path: Path
    model: str | None = None
    language: str | None = None
    words: bool = False
    start_at: float = 0.0


class Diarize(_Line):
    """Job: who speaks when in a recording."""

    type: Literal["diarize"] = "diarize"
    path: Path
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None


class Load(_Line):
    """Job: load a model ahead of the first task."""

    type: Literal["load"] = "load"
    model: str | None = None


class StageAdvanced(_Line):
    """Reply: how far a stage is, in seconds of audio."""

    type: Literal["advanced"] = "advanced"
    stage: Stage
    processed_seconds: float
    duration_seconds: float | None


class Transcribed(_Line):
    """Reply: a batch of windows is done; everything up to `processed_seconds` is."""

    type: Literal["transcribed"] = "transcribed"
    language: str | None
    processed_seconds: float
    duration_seconds: float
    segments: list[Segment]


class TranscriptionDone(_Line):
    """Reply: the recording's end was reached."""

    type: Literal["transcription_done"] = "transcription_done"
    language: str | None
    duration_seconds: float
    model: Model


class DiarizationDone(_Line):
    """Reply: the turns of the whole recording."""

    type: Literal["diarization_done"] = "diarization_done"
    turns: list[Turn]
    duration_seconds: float
    model: Model


class Loaded(_Line):
    """Reply: the model is in memory."""

    type: Literal["loaded"] = "loaded"
    model: Model


class Failed(_Line):
    """Reply: the job cannot be done; the process stays usable."""

    type: Literal["failed"] = "failed"
    error: ErrorDetail
    passing: bool = Field(description="Whether trying again can help.")


Job = Annotated[Transcribe | Diarize | Load, Field(discriminator="type")]
Reply = Annotated[
    StageAdvanced | Transcribed | TranscriptionDone | DiarizationDone | Loaded | Failed,
    Field(discriminator="type"),
]
JOB: TypeAdapter[Job] = TypeAdapter(Job)
REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
LAST_REPLIES = (TranscriptionDone, DiarizationDone, Loaded, Failed)
