"""Transcription: the task, what is found on the way, and the result."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.errors import ErrorDetail
from schemas.wire import (
    AtLeast,
    AtMost,
    Attempt,
    AudioFileId,
    Duration,
    End,
    Kind,
    Message,
    Model,
    Object,
    Order,
    Seconds,
    Sha256,
    Speaker,
    Start,
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
    language: Language | None = Field(
        None,
        description="ISO 639-1, `haw` or `yue`; null: detect. The task fails where the model does not know it.",
        examples=["en"],
    )
    diarize: bool = Field(
        default=False, description="Give each segment its speaker; else bounds on their number mean nothing."
    )
    min_speakers: AtLeast = None
    max_speakers: AtMost = None
    word_timestamps: bool = Field(default=False, description="Give each word its time and probability.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        check_speakers(self.min_speakers, self.max_speakers)
        return self


class Word(Message):
    """A word and when it is said."""

    start: Start
    end: End
    word: str = Field(description="With the blank before it, if there is one.", examples=[" Good"])
    probability: Probability = Field(description="How sure the model is.", examples=[0.97])


class Segment(Message):
    """A stretch of text, in seconds from the start of the recording."""

    start: Start
    end: End
    text: str = Field(description="What is said.", examples=["Good morning, shall we begin?"])
    speaker: Speaker | None = Field(None, description="Who says it; null where that was not asked for or not found.")
    words: list[Word] | None = Field(None, description="Its words, or null.")
    avg_logprob: float = Field(
        description="Mean log probability of the tokens: below -1 the text is doubtful.", examples=[-0.21]
    )
    no_speech_prob: Probability = Field(
        description="Probability that nothing is said: above .6 the text is doubtful.", examples=[0.02]
    )


class SegmentsEvent(Message):
    """What was transcribed since the last one; together they are the task's checkpoint."""

    task_id: TaskId
    attempt: Attempt
    sequence: int = Field(
        ge=1, description="Counts the task's segments events, without gaps, across attempts.", examples=[1]
    )
    language: Language | None = Field(description="ISO 639-1; null while nothing was said.")
    processed_seconds: Seconds = Field(
        description="Up to here the recording is transcribed; the next event goes on from here.", examples=[28.4]
    )
    segments: list[Segment] = Field(
        description="Live, and without speakers: the result has those. "
        "The words are here where the task asks for words or for speakers."
    )


class TranscriptionResult(Message):
    """The text of a recording."""

    kind: Literal[Kind.TRANSCRIPTION] = Field(Kind.TRANSCRIPTION, description="Tells the two kinds of results apart.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    text: str = Field(description="All that is said, segment by segment.", examples=["Good morning, shall we begin?"])
    language: Language | None = Field(description="ISO 639-1; null where nothing is said.")
    duration: Duration
    segments: list[Segment] = Field(description="By time; empty where nothing is said.")
    speakers: int | None = Field(None, description="How many speak; null where that was not asked for or not found.")
    diarization_error: ErrorDetail | None = Field(
        None,
        description="Why the segments have no speakers though they were asked for; the transcript is kept.",
    )
    model: Model = Field(description="What made the result.")
    audio_sha256: Sha256
    cached: bool = Field(default=False, description="Whether an earlier result was used again.")
    object: Object | None = Field(
        None,
        description="Null, or where the whole result lies that is too large for a message; `text` and `segments` are "
        "empty then.",
    )
    created_at: Time = Field(description="When the result was made.")
