"""Transcription: the task, its segments events and its result."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self, TypedDict

from .errors import ErrorDetail
from .tasks import IDENTIFIES_SPEAKERS, AnyTask, TaskNames
from .voices import SpeakerVoice
from .wire import (
    EXAMPLE_SHA256,
    Attempt,
    AudioFileId,
    DescribedEnum,
    Duration,
    End,
    Input,
    Kind,
    Message,
    Model,
    Object,
    Seconds,
    Sha256,
    Speaker,
    Start,
    TaskId,
    Time,
    UserId,
)

Probability = Annotated[float, Field(ge=0, le=1)]
LANGUAGE_PATTERN = r"^[a-z]{2,3}$"
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN, description="ISO 639-1.", examples=["en"])]
Channel = Annotated[int, Field(ge=0, examples=[0])]


class Channels(DescribedEnum):
    """How a recording's channels are transcribed."""

    AUTO = (
        "auto",
        (
            "Like `separate` if the channels carry different speech, as the two sides of a telephone call do; "
            "like `mix` otherwise. A recording with more than 8 channels is mixed. `channels` of the result says which."
        ),
    )
    MIX = "mix", "The channels are mixed into one."
    SEPARATE = (
        "separate",
        (
            "Each channel is transcribed on its own and counts as one speaker: for calls with a channel for each side. "
            "A recording with one channel is transcribed as one; `channels` of the result is null then."
        ),
    )


MOST_CHANNELS = 8  # a recording with more channels cannot be transcribed with `separate`
TERM_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
_Term = Annotated[str, Field(min_length=1, max_length=60, pattern=TERM_PATTERN)]


class TranscribeOptions(Input):
    """The options that decide the text of a transcription, and no others.

    Tasks, engines, helpers and the key of the cache use this one class. A new option is added here, in the engine and
    in the command.
    """

    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="A model that the service offers: a published one (a size of Whisper, or a name that onnx-asr "
        "knows) or a folder; null: the service's default.",
        examples=["large-v3"],
    )
    language: Language | None = Field(
        None,
        description="Spoken language: ISO 639-1, `haw` or `yue`. Null: the language of each part of the speech is "
        "detected, so a recording may have several languages. The task fails if the model does not know the language.",
        examples=["en"],
    )
    vocabulary: tuple[_Term, ...] = Field(
        (),
        strict=False,  # JSON has no tuples
        max_length=100,
        description="Names and terms that may be said, in the wanted spelling.",
        examples=[["Natscribe", "JetStream"]],
    )
    prompt: str | None = Field(
        None,
        max_length=800,
        description="What was said before, or a text in the wanted spelling.",
        examples=["A call about invoices."],
    )
    translate: bool = Field(
        default=False, description="Write the text in English. The task fails if the model cannot translate."
    )
    channels: Channels = Field(
        Channels.AUTO,
        strict=False,
        description="Whether the channels are mixed into one or transcribed each on its own.",
    )

    @property
    def options(self) -> "TranscribeOptions":
        """Only the options that were set, without the other fields of a task."""
        given = TranscribeOptions.model_fields.keys() & self.model_fields_set
        return TranscribeOptions(**{name: getattr(self, name) for name in given})

    def digest(self) -> str:
        """Return a hash of all options; equal options have equal hashes."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:32]


class TranscribeKeywords(TypedDict, total=False):
    """The fields of TranscribeOptions as keywords of a typed call; a test compares the names of both."""

    model: str | None
    language: str | None
    vocabulary: Sequence[str]
    prompt: str | None
    translate: bool
    channels: Channels


class TranscriptionTask(AnyTask, TranscribeOptions, TaskNames):  # the last base has the first fields
    """Asks for the text of a recording."""

    diarize: bool = Field(
        default=False,
        description="Find the speaker of each segment. If each channel is a speaker, only `identify` uses it. "
        "Without it the bounds on speakers have no effect.",
    )
    word_timestamps: bool = Field(default=False, description="Give each word its time and probability.")

    @model_validator(mode="after")
    def _identifies_speakers(self) -> Self:
        if self.identify and not self.diarize:
            raise ValueError(IDENTIFIES_SPEAKERS)
        return self


class Word(Message):
    """A word with its time in seconds from the start of the recording."""

    start: Start
    end: End
    word: str = Field(description="The word, with the space before it, if there is one.", examples=[" Good"])
    probability: Probability = Field(description="How sure the model is.", examples=[0.97])


class Segment(Message):
    """A part of the text, with its time in seconds from the start of the recording."""

    start: Start
    end: End
    text: str = Field(description="What is said.", examples=["Good morning, shall we begin?"])
    speaker: Speaker | None = Field(None, description="Who says it; null if not asked for or not found.")
    language: Language | None = Field(
        None, description="Spoken language, ISO 639-1; null if the model does not report it.", examples=["en"]
    )
    channel: Channel | None = Field(None, description="The channel, from 0; null: the channels were mixed.")
    words: list[Word] | None = Field(None, description="The words of the segment; null if not asked for.")
    confidence: Probability | None = Field(
        None, description="How sure the model is: the mean probability of the segment's words.", examples=[0.93]
    )
    avg_logprob: float | None = Field(
        None,
        description="Mean log probability of the tokens: below -1 the text is doubtful; null if the model has none.",
        examples=[-0.21],
    )
    no_speech_prob: Probability | None = Field(
        None,
        description="Probability that nothing is said: above .6 the text is doubtful; null if the model has none.",
        examples=[0.02],
    )


class Interval(Message):
    """A part of a recording, in seconds from its start."""

    start: Start
    end: End


class SegmentsEvent(Message):
    """The text since the previous segments event; all segments events of a task together are its checkpoint."""

    task_id: TaskId
    attempt: Attempt
    sequence: int = Field(
        ge=1,
        description="Number of the event among the task's segments events, from 1, without gaps, across attempts.",
        examples=[1],
    )
    language: Language | None = Field(
        description="The most recent spoken language, ISO 639-1; null before the first speech."
    )
    channel: Channel | None = Field(
        None,
        description="The channel, from 0: channels are transcribed one after the other; null: the channels were mixed.",
    )
    processed_seconds: Seconds = Field(
        description="The recording, or this channel, is transcribed up to here; the next event continues from here.",
        examples=[28.4],
    )
    segments: list[Segment] = Field(
        description="The new segments. They have speakers only if each channel is one; the speakers that "
        "diarization finds are in the result. They have words if the task asks for words or for speakers."
    )
    untranscribed: list[Interval] = Field(
        default_factory=list,
        description="Speech that the voice detector heard and for which no words were found: normally empty.",
    )


class Source(DescribedEnum):
    """Where the sound came from."""

    RECORDING = "recording", "A recording, which was complete when the task began."
    LIVE = "live", "Sound that was published while the task ran."


class TranscriptionResult(Message):
    """The result of a transcription: the text of a recording."""

    kind: Literal[Kind.TRANSCRIPTION] = Field(Kind.TRANSCRIPTION, description="Distinguishes the two kinds of results.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    text: str = Field(description="The whole text, segment by segment.", examples=["Good morning, shall we begin?"])
    language: Language | None = Field(
        description="Language of most of the speech, ISO 639-1; null if nothing is said or the model reports none."
    )
    languages: dict[str, Seconds] = Field(
        default_factory=dict,
        description="Seconds of segments in each language, the largest first.",
        examples=[{"en": 40.5, "ru": 12.3}],
    )
    duration: Duration
    segments: list[Segment] = Field(description="In order of time; empty if nothing is said.")
    untranscribed: list[Interval] = Field(
        default_factory=list,
        description="Speech that the voice detector heard and for which no words were found, and with `diarize` speech "
        "that has a speaker and no words: normally empty. Listen to it. Sound that both take for silence, such as a "
        "distant voice, is not listed. No part is listed twice.",
    )
    channels: int | None = Field(
        None,
        description="How many channels were transcribed each on its own; null: they were mixed, or the recording has "
        "only one.",
        examples=[2],
    )
    speakers: int | None = Field(None, description="Number of speakers; null if not asked for or not found.")
    diarization_error: ErrorDetail | None = Field(
        None, description="Why the segments have no speakers although the task asked for them; the transcript is kept."
    )
    voices: dict[str, SpeakerVoice] | None = Field(
        None,
        description="For each speaker whose voice it is; nobody is named twice. Null if the task did not ask, or if "
        "the speakers could not be compared.",
    )
    voices_error: ErrorDetail | None = Field(
        None, description="Why names are missing although the task asked for them; the rest of the result is complete."
    )
    audio_error: ErrorDetail | None = Field(
        None,
        description="Why the sound of a live task is not kept although it has `keep_audio`; the transcript is kept.",
    )
    model: Model = Field(description="The model that made the result.")
    source: Source = Field(Source.RECORDING, description="Where the sound came from.")
    audio_sha256: Sha256 | None = Field(
        description="SHA-256 of the recording, in hex; null for a live task.", examples=[EXAMPLE_SHA256]
    )
    cached: bool = Field(default=False, description="Whether the result comes from the cache.")
    object: Object | None = Field(
        None,
        description="Where the whole result is stored if it is too large for a message; `text` and `segments` are "
        "empty then. Null: this message is the whole result.",
    )
    created_at: Time = Field(description="When the result was made.")
