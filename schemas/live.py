"""Live transcription: the task, the format of its audio frames, and partial results."""

from typing import Annotated

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from .diarization import Turn
from .enums import DescribedEnum
from .task_fields import IDENTIFY_NEEDS_DIARIZE, Identify, SpeakerBounds
from .transcription import Channel, Language, TranscribeKeywords, TranscribeOptions
from .voices import SpeakerVoice
from .wire import End, Input, KeepSeconds, Message, Seconds, Speaker, Start, TaskId, UserId

MAX_FRAME_S, MIN_FRAME_S = 1.0, 0.02
MAX_FRAME_BYTES = 256 * 1024  # more than a second of two channels of 48 kHz
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8000, 48_000
MAX_LIVE_CHANNELS = 2
MAX_UTTERANCE_S = 15.0  # a longer utterance is split
IDLE_S = 30


class Codec(DescribedEnum):
    """How the audio of a live task is encoded."""

    PCM_S16LE = "pcm_s16le", "Signed 16-bit samples, little-endian, 8 to 48 kHz, with interleaved channels."
    MULAW = "mulaw", "G.711 mu-law, 8 kHz."
    ALAW = "alaw", "G.711 A-law, 8 kHz."
    OPUS = (
        "opus",
        (
            "Opus in Ogg or WebM, as browsers record it: the frames are consecutive pieces of the file, cut anywhere. "
            "`sample_rate` and `channels` have to match the header of the file."
        ),
    )


_BYTES_A_SAMPLE = {Codec.PCM_S16LE: 2, Codec.MULAW: 1, Codec.ALAW: 1}


class LiveAudio(Input):
    """The audio format of the frames of a live task."""

    codec: Codec = Field(Codec.PCM_S16LE, strict=False, description="Encoding of the audio.")
    sample_rate: Annotated[int, Field(ge=MIN_SAMPLE_RATE_HZ, le=MAX_SAMPLE_RATE_HZ)] = Field(
        16_000, description="Sample rate in Hz.", examples=[16_000]
    )
    channels: Annotated[int, Field(ge=1, le=MAX_LIVE_CHANNELS)] = Field(
        1, description="Number of channels.", examples=[1]
    )

    @model_validator(mode="after")
    def _check_telephone_rate(self) -> Self:
        if self.codec in {Codec.MULAW, Codec.ALAW} and self.sample_rate != MIN_SAMPLE_RATE_HZ:
            message = f"{self.codec} has a sample_rate of {MIN_SAMPLE_RATE_HZ}"
            raise ValueError(message)
        return self

    @property
    def sample_bytes(self) -> int:
        """The size in bytes of one sample of all channels; 0 for Opus, which has no fixed size."""
        return _BYTES_A_SAMPLE.get(self.codec, 0) * self.channels

    def frame_error(self, number: int, size: int) -> str | None:
        """Return an error message if a frame of `size` bytes does not contain whole samples of all channels, or None.

        `number`: the number of the frame, for the message.
        """
        if self.sample_bytes and size % self.sample_bytes:
            return f"The frame {number} has {size} bytes: publish frames of whole samples, under a new task id."
        return None


class LiveTaskIdentity(Input):
    """The fields that identify a live task and its user, and describe its audio frames."""

    task_id: TaskId
    user_id: UserId = Field(description="Owner of the task, repeated in its result.")
    audio: LiveAudio = Field(LiveAudio(), description="Format of the frames.")
    idle_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        IDLE_S, description="The audio ends after this many seconds without a new frame.", examples=[30]
    )


class LiveTask(SpeakerBounds, TranscribeOptions, LiveTaskIdentity):  # the last base has the first fields
    """A request to transcribe audio while it is being published.

    With `channels: auto`, two channels are always transcribed separately: publish one channel if there is only one
    microphone.
    """

    keep_seconds: KeepSeconds = None
    keep_audio: bool = Field(
        default=False, description="When the audio has ended, store it as a recording whose name is the task id."
    )
    identify: Identify = False
    diarize: bool = Field(
        default=False,
        description="Find the speaker of each segment: while people speak, and again for the result. Each channel that "
        "is transcribed separately has speakers of its own.",
    )
    word_timestamps: bool = Field(default=False, description="Return the time and probability of each word.")
    turns: bool = Field(
        default=False, description="Publish events about turns on `turns.{task_id}`: who begins, pauses, and has ended."
    )

    @model_validator(mode="after")
    def _check_identify(self) -> Self:
        if self.identify and not self.diarize:
            raise ValueError(IDENTIFY_NEEDS_DIARIZE)
        return self

    @property
    def audio_file_id(self) -> str:
        """The id of the recording that the service stores if the task has `keep_audio`: the same as the task id."""
        return self.task_id


class LiveKeywords(TranscribeKeywords, total=False):
    """Types of the keyword arguments for the fields of `LiveTask`, except `task_id` and `audio`.

    A test checks that `LiveTask` has the same fields.
    """

    user_id: int | str
    idle_seconds: int
    keep_seconds: int | None
    keep_audio: bool
    diarize: bool
    identify: bool
    min_speakers: int | None
    max_speakers: int | None
    word_timestamps: bool
    turns: bool


class Partial(Message):
    """A partial result: the text so far of an utterance in progress.

    Partial results are sent over core NATS and not stored: about one per second, fewer on a busy worker. Each of them
    replaces the previous one of its `channel`. Finally the segments of the utterance, on
    `segments.{task_id}`, replace its partial results; they may differ from them even in `stable` words.
    """

    task_id: TaskId
    channel: Channel | None = Field(None, description="Number of the channel, from 0; null: the channels are mixed.")
    start: Start = Field(description="Start of the utterance, in seconds from the start of the audio.")
    end: End = Field(description="End of the transcribed audio, in seconds from the start of the audio.")
    stable: str = Field(
        description="The first words of `text`, which no later partial result of the utterance changes.",
        examples=["Good morning,"],
    )
    text: str = Field(description="All words so far; `stable` is their beginning.", examples=["Good morning, shall we"])
    language: Language | None = Field(None, description="Spoken language, ISO 639-1; null if unknown.")
    speaker: Speaker | None = Field(
        None, description="Probable speaker of the last words; null if unknown, or without `diarize`."
    )


class TurnState(DescribedEnum):
    """What has happened in a turn."""

    STARTED = "started", "Somebody has begun to speak."
    EAGER_END = (
        "eager_end",
        "There is a short pause, and `text` is the text of the turn if nobody continues. `resumed` or `ended` follows.",
    )
    RESUMED = "resumed", "The turn continues after all: its `text` is not what the last `eager_end` has said."
    ENDED = "ended", "The turn is over, and its segments are stored. Right after `eager_end`, the text is the same."


class TurnEvent(Message):
    """An event of a turn: what somebody says up to a pause of half a second, in a live task with `turns`.

    Turns events are sent over core NATS and not stored. A channel has one turn at a time. If another worker takes over
    the task, a turn may start again without having ended.
    """

    task_id: TaskId
    state: TurnState = Field(strict=False, description="What has happened.")
    channel: Channel | None = Field(None, description="Number of the channel, from 0; null: the channels are mixed.")
    start: Start = Field(description="Start of the turn, in seconds from the start of the audio.")
    end: End = Field(description="End of the audio that the event is about, in seconds from the start of the audio.")
    text: str = Field("", description="Text of the turn; empty in `started` and `resumed`.", examples=["Good morning."])
    speaker: Speaker | None = Field(None, description="Probable speaker; null if unknown, or without `diarize`.")


class SameSpeaker(Message):
    """Two labels that turned out to belong to one person: from now on, `is` replaces `speaker`.

    The label in `speaker` is not used again.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    speaker: Speaker
    is_: Speaker = Field(alias="is", description="The label that replaces `speaker`, also for earlier segments.")


class SpeakerChanges(Message):
    """What changes of the speakers of a live task after its segments were published."""

    channel: Channel | None = Field(
        None, description="The channel of `turns`, from 0; null: the channels are mixed, or there are no turns."
    )
    turns: list[Turn] = Field(description="Intervals whose published speaker was wrong or unknown, with the new one.")
    same: list[SameSpeaker] = Field(description="Pairs of labels that turned out to belong to one person.")
    voices: dict[str, SpeakerVoice] = Field(
        description="By speaker label, the voices that were recognized, or have changed, since the last event. The "
        "`name` is null: `voices.list` has the names."
    )
    settled_until: Seconds = Field(
        description="Speakers before this second no longer change; later events may still have `same` and `voices`.",
        examples=[61.5],
    )


class _Numbered(Message):
    task_id: TaskId
    sequence: int = Field(
        ge=1, description="Number of the speakers event, from 1, without gaps, across attempts.", examples=[1]
    )


class SpeakersEvent(SpeakerChanges, _Numbered):  # the fields of the last class come first
    """Changes of the speakers of a live task with `diarize`, detected after the segments were published.

    Published segments never change: for the seconds that an event names, it overrides the speakers of the segments and
    of earlier events. A label always means the same person: labels may be added, merged, or given to other seconds, but
    never swapped. The speakers of the result are those of the segments with all events applied, or better. A client may
    ignore these events.
    """
