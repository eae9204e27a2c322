"""The task, the segments events and the result of a transcription."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self, TypedDict

from .enums import DescribedEnum
from .errors import ErrorDetail
from .redaction import SpokenEntity, TaskRedaction
from .task_fields import IDENTIFY_NEEDS_DIARIZE, RecordingTaskFields, TaskIdentity
from .voices import SpeakerVoices, VoicesError
from .wire import (
    EXAMPLE_SHA256,
    LANGUAGE_PATTERN,
    Attempt,
    AudioFileId,
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
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN, description="ISO 639-1.", examples=["en"])]
Channel = Annotated[int, Field(ge=0, examples=[0])]


class Channels(DescribedEnum):
    """Whether the channels of a recording are mixed or transcribed separately."""

    AUTO = (
        "auto",
        (
            "Like `separate` if the channels carry different speech, as in a telephone call with a channel for each "
            "side; otherwise, or with more than 8 channels, like `mix`. `channels` of the result says which was chosen."
        ),
    )
    MIX = "mix", "The channels are mixed into one."
    SEPARATE = (
        "separate",
        (
            "Each channel is transcribed separately, as suits a call with a channel for each side. With `diarize`, "
            "each channel has speakers of its own; without it, each channel counts as one speaker. For a recording "
            "with only one channel, `channels` of the result is null."
        ),
    )


class Numbers(DescribedEnum):
    """How numbers are written."""

    AS_IS = "as_is", "As the model writes them: in words, in digits, or with a mark between the digits."
    DIGITS = (
        "digits",
        (
            "In digits, in English and Russian: 450, 21st, 3:30. Digits that are said one by one become one number, in "
            "all languages. What may be no number remains words: `one` and ordinals below ten without a unit or a "
            "month, and numbers side by side, as in `ten fifteen minutes`."
        ),
    )


MAX_CHANNELS = 8  # a recording with more channels cannot be transcribed with `separate`
TERM_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
_Term = Annotated[str, Field(min_length=1, max_length=60, pattern=TERM_PATTERN)]


class TranscribeOptions(Input):
    """All options on which the text of a transcription depends."""

    # Tasks, engines, requests to transcribe windows and the key of the transcript cache all use this class. A new
    # option is added here, in the engine and in the command.

    model: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        description="Name of a model that the service offers: of a published model (a Whisper size, or a name that "
        "onnx-asr knows), or of a folder; null: the default model of the service.",
        examples=["large-v3"],
    )
    language: Language | None = Field(
        None,
        description="Spoken language: a code of ISO 639-1, `haw` or `yue`. Null: the service detects the language "
        "throughout the audio, in which it may change. The task fails if the model does not support the language.",
        examples=["en"],
    )
    vocabulary: tuple[_Term, ...] = Field(
        (),
        strict=False,  # JSON has no tuples
        max_length=100,
        description="Names and terms that may occur, in their correct spelling.",
        examples=[["Natscribe", "JetStream"]],
    )
    prompt: str | None = Field(
        None,
        max_length=800,
        description="What was said before the audio, or any text in the style and spelling that the transcript should "
        "have.",
        examples=["A call about invoices."],
    )
    translate: bool = Field(
        default=False, description="Translate the text into English. The task fails if the model cannot translate."
    )
    channels: Channels = Field(
        Channels.AUTO, strict=False, description="Whether the channels are mixed or transcribed separately."
    )
    numbers: Numbers = Field(
        Numbers.AS_IS, strict=False, description="Whether numbers are written in digits, or as the model writes them."
    )
    redact: TaskRedaction | None = Field(
        None,
        description="Replace personal data in all text of the task, before anything of it is stored or published. The "
        "recording itself is not changed. Null: replace nothing.",
        examples=[{"entities": ["pci", "phone"], "replace": "numbered"}],
    )

    @property
    def options(self) -> "TranscribeOptions":
        """A copy with only the fields of `TranscribeOptions` that were set explicitly."""
        names = TranscribeOptions.model_fields.keys() & self.model_fields_set
        return TranscribeOptions(**{name: getattr(self, name) for name in names})

    def digest(self) -> str:
        """Return a hash of all options, for cache keys; equal options have equal hashes."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()[:32]


class TranscribeKeywords(TypedDict, total=False):
    """Types of the keyword arguments for the fields of `TranscribeOptions`.

    A test checks that `TranscribeOptions` has the same fields.
    """

    model: str | None
    language: str | None
    vocabulary: Sequence[str]
    prompt: str | None
    translate: bool
    channels: Channels
    numbers: Numbers
    redact: TaskRedaction | None


class TranscriptionTask(RecordingTaskFields, TranscribeOptions, TaskIdentity):  # the last base has the first fields
    """A request to transcribe a recording."""

    diarize: bool = Field(
        default=False,
        description="Find the speaker of each segment. Without this option, each channel that is transcribed "
        "separately counts as one speaker, and `min_speakers` and `max_speakers` have no effect.",
    )
    word_timestamps: bool = Field(default=False, description="Return the time and probability of each word.")

    @model_validator(mode="after")
    def _check_identify(self) -> Self:
        if self.identify and not self.diarize:
            raise ValueError(IDENTIFY_NEEDS_DIARIZE)
        return self


class Word(Message):
    """A word of a segment, with its start and end in the recording."""

    start: Start
    end: End
    word: str = Field(description="The word, with its leading space if it has one.", examples=[" Good"])
    probability: Probability = Field(description="Probability of the word, according to the model.", examples=[0.97])


class Segment(Message):
    """A part of the transcript, such as a sentence, with its start and end in the recording."""

    start: Start
    end: End
    text: str = Field(description="Text of the segment.", examples=["Good morning, shall we begin?"])
    speaker: Speaker | None = Field(None, description="Speaker of the segment; null if not requested or not found.")
    language: Language | None = Field(
        None, description="Spoken language, ISO 639-1; null if the model does not report it.", examples=["en"]
    )
    channel: Channel | None = Field(None, description="Number of the channel, from 0; null: the channels were mixed.")
    words: list[Word] | None = Field(None, description="Words of the segment; null if not requested.")
    confidence: Probability | None = Field(
        None, description="Mean probability of the words of the segment; null if not reported.", examples=[0.93]
    )
    avg_logprob: float | None = Field(
        None,
        description="Mean log probability of the tokens; below -1, the text is doubtful. Null if not reported.",
        examples=[-0.21],
    )
    no_speech_prob: Probability | None = Field(
        None,
        description="Probability that the audio has no speech; if it is above 0.6, the text is doubtful. Null if not "
        "reported.",
        examples=[0.02],
    )


class Interval(Message):
    """An interval of a recording, e.g. speech that was not transcribed."""

    start: Start
    end: End


class SegmentsEvent(Message):
    """New text of a running transcription: the segments since the previous segments event.

    The segments events of a task together form its checkpoint: after the loss of a worker, the next worker continues
    where the last event ends, and repeats no text. Only transcriptions have segments events.

    Segments of a recording have no speakers unless each channel counts as one speaker (`channel` is not null). Segments
    of a live task with `diarize` have the speaker who was recognized when they were transcribed; null: not recognized
    yet. The channels of a recording are transcribed one after the other, each from its start; those of a live task are
    transcribed at the same time.
    """

    task_id: TaskId
    attempt: Attempt
    sequence: int = Field(
        ge=1, description="Number of the segments event, from 1, without gaps, across attempts.", examples=[1]
    )
    language: Language | None = Field(description="Language spoken last, ISO 639-1; null before the first speech.")
    channel: Channel | None = Field(
        None, description="Number of the channel to which the event belongs, from 0; null: the channels are mixed."
    )
    processed_seconds: Seconds = Field(
        description="Time in seconds up to which the audio, or this channel of it, is transcribed; the next event "
        "continues there.",
        examples=[28.4],
    )
    segments: list[Segment] = Field(
        description="The new segments. Segments of a recording have a speaker only if each channel counts as one "
        "speaker; otherwise only the result has speakers. Segments have `words` if the task has `word_timestamps` or "
        "`diarize`."
    )
    untranscribed: list[Interval] = Field(
        default_factory=list,
        description="Speech that was detected, but for which the model returned no text; normally empty.",
    )
    entities: list[SpokenEntity] = Field(
        default_factory=list, description="What is replaced in the segments; empty without `redact`."
    )
    finalized: list[str] = Field(
        default_factory=list,
        description="Of a live task: the marks of frames with the header `Natscribe-Finalize` whose text is complete "
        "with this event, which may have no segments. All audio up to and including these frames is transcribed.",
        examples=[["turn-3"]],
    )

    @property
    def speaker(self) -> str | None:
        """The label of the speaker of the last segment; None if unknown."""
        return self.segments[-1].speaker if self.segments else None


class Source(DescribedEnum):
    """Whether the audio was a stored recording or live."""

    RECORDING = "recording", "A recording, complete when the task started."
    LIVE = "live", "Audio that was published while the task ran."


class TranscriptionResult(Message):
    """The result of a transcription: the text of a recording or of live audio, as segments with times."""

    kind: Literal[Kind.TRANSCRIPTION] = Field(Kind.TRANSCRIPTION, description="Distinguishes the two kinds of results.")
    task_id: TaskId
    audio_file_id: AudioFileId
    user_id: UserId
    text: str = Field(description="The whole text: all segments, joined.", examples=["Good morning, shall we begin?"])
    language: Language | None = Field(
        description="Language of most of the speech, ISO 639-1; null without speech or if the model reports none."
    )
    languages: dict[str, Seconds] = Field(
        default_factory=dict,
        description="Total duration of the segments in each language, in seconds; the longest first.",
        examples=[{"en": 40.5, "ru": 12.3}],
    )
    duration: Duration
    segments: list[Segment] = Field(description="Segments, sorted by time; empty without speech.")
    untranscribed: list[Interval] = Field(
        default_factory=list,
        description="Speech without text: speech that voice activity detection found but the model did not transcribe, "
        "and with `diarize` also speech to which diarization assigned a speaker but which has no words. Normally "
        "empty; have a person review it. Speech that both miss, such as a distant voice, is not listed. No interval is "
        "listed twice.",
    )
    entities: list[SpokenEntity] = Field(
        default_factory=list, description="What is replaced in the text, sorted by time; empty without `redact`."
    )
    warnings: list[str] = Field(
        default_factory=list,
        description="What of the requested options could not be done, in sentences for people; usually empty.",
    )
    channels: int | None = Field(
        None,
        description="Number of channels if they were transcribed separately; null: they were mixed, or there is only "
        "one.",
        examples=[2],
    )
    speakers: int | None = Field(None, description="Number of speakers; null if not requested or not found.")
    diarization_error: ErrorDetail | None = Field(
        None,
        description="Why the segments have no speakers, or only one for each channel, although the task has `diarize`; "
        "the text is complete. Null: diarization did not fail.",
    )
    voices: SpeakerVoices = None
    voices_error: VoicesError = None
    audio_error: ErrorDetail | None = Field(
        None,
        description="Why the audio of a live task with `keep_audio` is not stored, or has no redacted copy; the text "
        "is complete. Null: no error.",
    )
    redacted_audio: Object | None = Field(
        None,
        description="The recording without personal data, as FLAC, if the task has `audio` in `redact`: as long as the "
        "recording, 16 kHz. The object is erased with the result. Null: not requested, or there was no audio.",
    )
    model: Model = Field(description="The model that computed the result.")
    source: Source = Field(Source.RECORDING, description="Source of the audio.")
    audio_sha256: Sha256 | None = Field(
        description="SHA-256 of the recording, in hex; null for a live task.", examples=[EXAMPLE_SHA256]
    )
    cached: bool = Field(default=False, description="Whether the result comes from the cache.")
    object: Object | None = Field(
        None,
        description="The object with the whole result if it is too large for a message; `text` and `segments` are "
        "empty then. Null: this message is the whole result.",
    )
    created_at: Time = Field(description="When the result was computed.")
