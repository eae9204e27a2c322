"""The words that every message is made of."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

AUDIO_SECONDS = "Natscribe-Audio-Seconds"  # header of a task: how long its recording is, where its publisher knows
TASK_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

TaskId = Annotated[
    str,
    Field(
        pattern=TASK_ID_PATTERN,
        description="Chosen by the publisher, unique across both kinds, always one NATS token.",
        examples=["meeting-2026-11-24"],
    ),
]
AudioFileId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="Name of the recording in the service's audio store.",
        examples=["meeting.flac"],
    ),
]
UserId = Annotated[
    int,
    Field(ge=-(2**63), lt=2**63, description="Whom the task belongs to, for the publisher's own use."),
]
Seconds = Annotated[float, Field(ge=0), AfterValidator(lambda value: round(value, 3))]
Speaker = Annotated[
    str,
    Field(
        pattern=r"^SPEAKER_\d{2,}$",
        description="Numbered by first appearance.",
        examples=["SPEAKER_00"],
    ),
]
Speakers = Annotated[int, Field(ge=1, le=64)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 in hex.")]


def _to_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_to_utc)]


class Kind(StrEnum):
    """What is asked of the service."""

    TRANSCRIPTION = "transcription"
    DIARIZATION = "diarization"


class Priority(StrEnum):
    """The lanes of the queue, in the order in which they are served."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Message(BaseModel):
    """What the service says: readers ignore fields they do not know."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Order(BaseModel):
    """What the service is told: an unknown field is refused, it may be a misspelt option."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Object(Message):
    """Where a result lies that is larger than the server's `max_payload`."""

    bucket: str = Field(description="Object Store bucket.")
    name: str = Field(description="Name of the object, the task id.")
    digest: str = Field(description="`SHA-256=` and the digest in URL-safe base64.")
    size: int = Field(ge=0, description="Bytes.")


class Model(Message):
    """Which model made a result."""

    name: str = Field(examples=["whisper-base"])
    revision: str = Field(description="Hash of the model's weights.", examples=["d01c3014881c"])


def check_speakers(minimum: int | None, maximum: int | None) -> None:
    """Refuse bounds that no recording can satisfy (ValueError)."""
    if minimum is not None and maximum is not None and minimum > maximum:
        message = "min_speakers must not be above max_speakers"
        raise ValueError(message)
