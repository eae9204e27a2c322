"""Field types and base classes that the messages share."""

import re
import unicodedata
from datetime import datetime, timedelta, timezone
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic.functional_serializers import model_serializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from .enums import DescribedEnum

_ANNOTATIONS = {"title", "description", "default", "examples"}  # in the schema of a field, all but constraints
INVISIBLE = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols that are rendered as blanks
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]+$"  # no control characters: terminals interpret some as commands
_LEAP_SECOND = re.compile(r"(?<=:\d\d:)60", re.ASCII)
LANGUAGE_PATTERN = r"^[a-z]{2,3}$"
TASK_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"

TaskId = Annotated[
    str,
    Field(
        pattern=TASK_ID_PATTERN,
        description="Id of the task, chosen by its publisher: one NATS token, unique among all stored tasks.",
        examples=["meeting-2026-11-24"],
    ),
]
AudioFileId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=NAME_PATTERN,
        description="Name of the recording in the store of recordings: of an object in a bucket, or of a file.",
        examples=["meeting.flac"],
    ),
]
UserId = Annotated[
    Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[str, Field(min_length=1, max_length=64, pattern=NAME_PATTERN)],
    Field(description="The user: an integer, or a string of up to 64 characters.", examples=[42]),
]
MIN_KEEP_S, MAX_KEEP_S = 60, 7 * 24 * 3600  # a result is stored for seven days
KeepSeconds = Annotated[
    Annotated[int, Field(ge=MIN_KEEP_S, le=MAX_KEEP_S)] | None,
    Field(
        description="Seconds from the end of the task until the service erases all its data: recording, events, "
        "segments, result, Redis keys, dead letters, and cached data of the recording. A recording is not erased while "
        "another task needs it, nor if it is in a folder or on a web server. Null: each kind of data has its own "
        "retention time.",
        examples=[86400],
    ),
]
Seconds = Annotated[float, Field(ge=0), AfterValidator(lambda value: round(value, 3))]
Start = Annotated[Seconds, Field(description="Start, in seconds from the start of the recording.", examples=[0.0])]
End = Annotated[Seconds, Field(description="End, in seconds from the start of the recording.", examples=[2.4])]
Duration = Annotated[Seconds, Field(description="Duration of the recording in seconds.", examples=[61.5])]
SPEAKER_PATTERN = r"^SPEAKER_\d{2,}$"
Speaker = Annotated[
    str,
    Field(
        pattern=SPEAKER_PATTERN,
        description="Label of the speaker: numbered by first appearance, from SPEAKER_00.",
        examples=["SPEAKER_00"],
    ),
]
Speakers = Annotated[int, Field(ge=1, le=64)]
AtLeast = Annotated[
    Speakers | None,
    Field(
        description="Minimum number of speakers; null: unknown. `speakers` of the result is lower if the service can "
        "distinguish only fewer speakers.",
        examples=[2],
    ),
]
AtMost = Annotated[
    Speakers | None,
    Field(description="Maximum number of speakers, not below `min_speakers`; null: unknown.", examples=[4]),
]
EXAMPLE_SHA256 = "d681eeef56ee8e6757bcabf3634a4922c195009c4fb85abdd7c713684886e0d1"
Sha256 = Annotated[
    str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the recording, in hex.", examples=[EXAMPLE_SHA256])
]
Attempt = Annotated[
    int,
    Field(
        ge=1,
        description="Number of the attempt, from 1: the next one starts after a failure or the loss of a worker.",
        examples=[1],
    ),
]


def visible(text: str) -> str:
    """Return the text unchanged if it has a visible character.

    Raises:
        ValueError: The text has only blanks, combining marks and invisible characters.
    """
    if not any(unicodedata.category(character)[0] in "LNPS" and character not in INVISIBLE for character in text):
        message = "write at least one visible letter, digit or sign"
        raise ValueError(message)
    return text


def to_utc(value: datetime) -> datetime:
    """Convert a time with a time zone to UTC."""
    return value.astimezone(timezone.utc)


def parse_time(value: object, parse: ValidatorFunctionWrapHandler) -> datetime:
    """Parse a time with a time zone, and convert it to UTC; a leap second (23:59:60Z) becomes the second after it.

    Raises:
        ValueError: The value is no such time, or cannot be converted to UTC.
    """
    text, leap_seconds = _LEAP_SECOND.subn("59", value) if isinstance(value, str) else (value, 0)
    try:
        time = to_utc(parse(text)) + timedelta(seconds=leap_seconds)
    except OverflowError as error:
        message = "write a time in UTC between the years 1 and 9999"
        raise ValueError(message) from error
    if leap_seconds and (time.hour, time.minute) != (0, 0):
        message = "only the last minute of a day in UTC can have a second 60"
        raise ValueError(message)
    return time


Time = Annotated[
    AwareDatetime,
    AfterValidator(to_utc),
    Field(description="RFC 3339, in UTC.", examples=["2026-11-24T18:40:44.648286Z"]),
]


class Kind(DescribedEnum):
    """The kind of result that a task produces."""

    TRANSCRIPTION = "transcription", "Speech-to-text, with speakers if the task requests them."
    DIARIZATION = "diarization", "Speaker diarization: who speaks when."


class TaskType(DescribedEnum):
    """The type of a task; there is one task queue for each task type and each priority."""

    TRANSCRIPTION = "transcription", "Recordings to transcribe."
    DIARIZATION = "diarization", "Recordings to diarize."
    LIVE = "live", "Live audio to transcribe. The kind of these tasks is `transcription`."

    @property
    def task(self) -> str:
        """What texts for people call a task of this type: "transcription", "diarization" or "live transcription"."""
        return "live transcription" if self is TaskType.LIVE else self.value

    @property
    def kind(self) -> Kind:
        """The kind of tasks of this type: live tasks are transcriptions, too."""
        return Kind.DIARIZATION if self is TaskType.DIARIZATION else Kind.TRANSCRIPTION


class Priority(DescribedEnum):
    """The priority of a task; every priority gets its turn, so that no task waits forever."""

    HIGH = "high", "Served first."
    NORMAL = "normal", "Served if no `high` task waits. Even if one does, every fourth task that starts is `normal`."
    LOW = "low", "Served if no other task waits. Even if one does, every sixteenth task that starts is `low`."

    def precedes(self, other: "Priority") -> bool:
        """Whether workers prefer tasks of this priority to those of `other`."""
        order = list(Priority)
        return order.index(self) < order.index(other)


class Message(BaseModel):
    """Base class of messages that the service sends: all fields are present, and readers ignore unknown fields."""

    model_config = ConfigDict(
        extra="ignore", frozen=True, json_schema_serialization_defaults_required=True, defer_build=True
    )


class Input(BaseModel):
    """Base class of messages that the service receives: unknown fields, which may be misspelt options, are errors.

    A null in an optional field means the default of this field: many programs send null for an unset field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)

    @model_serializer(mode="wrap")
    def _only_set_fields(self, write: SerializerFunctionWrapHandler):  # type: ignore[no-untyped-def]  # else the schema changes
        """Serialize only the fields that were set, because an older version refuses fields that it does not know.

        Unknown fields, which a later version may have added, are serialized, too.
        """
        written = {name: value for name, value in write(self).items() if name in self.model_fields_set}
        return written | (self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, message: object) -> object:
        if not isinstance(message, dict):
            return message
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in message.items() if value is not None or name not in optional}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Allow null in the JSON schema of each field with a default."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        for name, field in schema["properties"].items():
            if not cls.model_fields[name].is_required() and {"type": "null"} not in field.get("anyOf", ()):
                annotations = {key: field.pop(key) for key in _ANNOTATIONS & field.keys()}
                schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **annotations}
        return reference


class Object(Message):
    """A reference to an object in the Object Store: a result larger than the server's `max_payload`, or audio."""

    bucket: str = Field(description="Object Store bucket.", examples=["results"])
    name: str = Field(
        description="Name of the object: the task id; with `.flac` for audio.", examples=["meeting-2026-11-24"]
    )
    digest: str = Field(
        description="`SHA-256=` and the digest in URL-safe base64.",
        examples=["SHA-256=1oHu71buhmdXvKvzY0pJIsGVAJxPuFq918cTaEiG4NE="],
    )
    size: int = Field(ge=0, description="Size in bytes.", examples=[2_400_000])


class Model(Message):
    """The model that has computed a result or embeddings."""

    name: str = Field(description="Name of the model.", examples=["whisper-base"])
    revision: str = Field(description="Hash of the model's weights.", examples=["d01c3014881c"])
