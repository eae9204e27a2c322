"""Transcription: the task, what is found on the way, and the result."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.errors import ErrorDetail
from schemas.wire import (
    AudioFileId,
    Kind,
    Message,
    Model,
    Object,
    Order,
    Seconds,
    Sha256,
    Speaker,
    Speakers,
    TaskId,
    Time,
    UserId,
    check_speakers,
)

Probability = Annotated[float, Field(ge=0, le=1)]
LANGUAGE_PATTERN = r"^[a-z]{2,3}$"
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN, description="ISO 639-1.", examples=["en"])]


class TranscriptionTask(Order):
    """Asks for the text of a recording."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="A published size of faster-whisper or a folder of the service's models; null: the service's own.",
        examples=["large-v3"],
    )
    language: Language | None = Field(None, description="ISO 639-1; null: detect.", examples=["en"])
    diarize: bool = Field(default=False, description="Give each segment its speaker.")
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None
    word_timestamps: bool = Field(default=False, description="Give each word its time and probability.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_speakers(self.min_speakers, self.max_speakers)
        return self


class Word(Message):
    """A word and when it is said."""

    start: Seconds
    end: Seconds
    word: str
    probability: Probability


class Segment(Message):
    """A stretch of text, in seconds from the start of the recording."""

    start: Seconds
    end: Seconds
    text: str
    speaker: Speaker | None = None
    words: list[Word] | None = None
    avg_logprob: float = Field(description="Mean log probability of the tokens: below -1 the text is doubtful.")
    no_speech_prob: Probability = Field(description="Probability that nothing is said: above .6 the text is doubtful.")


class SegmentsEvent(Message):
    """What was transcribed since the last one; together they are the task's checkpoint."""

    task_id: TaskId
    attempt: int = Field(ge=1)
    sequence: int = Field(ge=1, description="Counts the task's segments events, without gaps.")
    language: Language | None
    processed_seconds: Seconds
    segments: list[Segment]


class TranscriptionResult(Message):
    """The text of a recording."""

    kind: Literal[Kind.TRANSCRIPTION] = Kind.TRANSCRIPTION
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    text: str
    language: Language | None = Field(description="Null where nothing is said.")
    duration: Seconds
    segments: list[Segment]
    speakers: int | None = Field(None, description="How many speak; null where speakers were not asked for.")
    diarization_error: ErrorDetail | None = Field(None, description="Why the segments have no speakers.")
    model: Model
    audio_sha256: Sha256
    cached: bool = False
    object: Object | None = Field(
        None, description="Where the whole result lies; `text` and `segments` are empty then."
    )
    created_at: Time
