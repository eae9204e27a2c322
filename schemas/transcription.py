"""Transcription: the task, what is found on the way, and the result."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Literal, Self, TypedDict

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
    Term,
    Time,
    UserId,
    check_speakers,
)

Probability = Annotated[float, Field(ge=0, le=1)]
LANGUAGE_PATTERN = r"^[a-z]{2,3}$"
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN, description="ISO 639-1.", examples=["en"])]
Channel = Annotated[int, Field(ge=0, examples=[0])]


class Channels(Term):
    """What becomes of a recording's channels."""

    MIX = "mix", "They are mixed into one."
    SEPARATE = (
        "separate",
        (
            "Each is transcribed on its own and is its own speaker, as where each side of a call has a channel. "
            "A recording with one channel is transcribed as one: the result's `channels` says so."
        ),
    )


MOST_CHANNELS = 8  # that are transcribed each on its own
TERM_PATTERN = r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$"
_Term = Annotated[str, Field(min_length=1, max_length=60, pattern=TERM_PATTERN)]


class TranscribeOptions(Order):
    """How a recording is transcribed: all that decides the text, and nothing else.

    The options travel whole, from the task to the engine, to other workers and into the key of the cache: an option is
    added here, in the engine and in the command.
    """

    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="A published model (a size of Whisper, or a name that onnx-asr knows) or a folder of the service's "
        "models; null: the service's own.",
        examples=["large-v3"],
    )
    language: Language | None = Field(
        None,
        description="ISO 639-1, `haw` or `yue`; null: found for each stretch of speech, so that a recording may hold "
        "several. The task fails where the model does not know it.",
        examples=["en"],
    )
    vocabulary: tuple[_Term, ...] = Field(
        (),
        strict=False,  # JSON has no tuples
        max_length=100,
        description="Names and terms that may be said, spelt as wanted: up to 100, each of up to 60 characters.",
        examples=[["Natscribe", "JetStream"]],
    )
    prompt: str | None = Field(
        None,
        max_length=800,
        description="Up to 800 characters of what was said before, or of a text in the spelling that is wanted.",
        examples=["A call about invoices."],
    )
    translate: bool = Field(
        default=False, description="Write what is said in English. The task fails where the model cannot."
    )
    channels: Channels = Field(
        Channels.MIX, strict=False, description="Whether each channel is transcribed on its own."
    )

    def digest(self) -> str:
        """A hash of all options: equal options, equal hashes."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:32]


class TranscribeKeywords(TypedDict, total=False):
    """The fields of TranscribeOptions as keywords of a typed call; a test holds the names equal."""

    model: str | None
    language: str | None
    vocabulary: Sequence[str]
    prompt: str | None
    translate: bool
    channels: Channels


class _Whose(Order):
    """Which task it is, of which recording, for whom."""

    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId


class TranscriptionTask(TranscribeOptions, _Whose):
    """Asks for the text of a recording."""

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

    @property
    def options(self) -> TranscribeOptions:
        """How to transcribe."""
        return TranscribeOptions(**{name: getattr(self, name) for name in TranscribeOptions.model_fields})


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
    language: Language | None = Field(
        None, description="ISO 639-1: what is spoken; null where the model does not tell.", examples=["en"]
    )
    channel: Channel | None = Field(None, description="Which channel it was heard on, from 0; null: on all as one.")
    words: list[Word] | None = Field(None, description="Its words, or null.")
    confidence: Probability | None = Field(
        None, description="How sure the model is: the mean of its words' probabilities.", examples=[0.93]
    )
    avg_logprob: float | None = Field(
        None,
        description="Mean log probability of the tokens: below -1 the text is doubtful; null: the model has none.",
        examples=[-0.21],
    )
    no_speech_prob: Probability | None = Field(
        None,
        description="Probability that nothing is said: above .6 the text is doubtful; null: the model has none.",
        examples=[0.02],
    )


class Stretch(Message):
    """A part of a recording, in seconds from its start."""

    start: Start
    end: End


class SegmentsEvent(Message):
    """What was transcribed since the last one; together they are the task's checkpoint."""

    task_id: TaskId
    attempt: Attempt
    sequence: int = Field(
        ge=1, description="Counts the task's segments events, without gaps, across attempts.", examples=[1]
    )
    language: Language | None = Field(description="ISO 639-1: what was spoken last; null while nothing was said.")
    channel: Channel | None = Field(
        None,
        description="Which channel this is about, from 0: they are transcribed one after the other; null: all as one.",
    )
    processed_seconds: Seconds = Field(
        description="Up to here the recording, or this channel, is transcribed; the next event goes on from here.",
        examples=[28.4],
    )
    segments: list[Segment] = Field(
        description="Live, and without speakers: the result has those. "
        "The words are here where the task asks for words or for speakers."
    )
    untranscribed: list[Stretch] = Field(
        default_factory=list, description="Stretches in which speech was heard and no text was found: normally empty."
    )


class TranscriptionResult(Message):
    """The text of a recording."""

    kind: Literal[Kind.TRANSCRIPTION] = Field(Kind.TRANSCRIPTION, description="Tells the two kinds of results apart.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    text: str = Field(description="All that is said, segment by segment.", examples=["Good morning, shall we begin?"])
    language: Language | None = Field(
        description="ISO 639-1: what most of it is spoken in; null where nothing is said or the model does not tell."
    )
    languages: dict[str, Seconds] = Field(
        default_factory=dict,
        description="Each language that is spoken, with the seconds of its segments, the largest first.",
        examples=[{"en": 40.5, "ru": 12.3}],
    )
    duration: Duration
    segments: list[Segment] = Field(description="By time; empty where nothing is said.")
    untranscribed: list[Stretch] = Field(
        default_factory=list,
        description="Stretches in which speech was heard and no text was found: normally empty. Listen to them.",
    )
    channels: int | None = Field(
        None,
        description="How many channels were transcribed each on its own; null: all as one, also where `separate` was "
        "asked of a recording with one channel.",
        examples=[2],
    )
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
