"""Live audio: the task, what its frames are, and the text while people still speak."""

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from .tasks import IDENTIFIES_SPEAKERS, Identify, SpeakerBounds
from .transcription import Channel, Language, TranscribeKeywords, TranscribeOptions
from .wire import DescribedEnum, End, Input, KeepSeconds, Message, Start, TaskId, UserId

LONGEST_FRAME_S, SHORTEST_FRAME_S = 1.0, 0.02
LARGEST_FRAME_BYTES = 256 * 1024  # more than a second of two channels of 48 kHz
LEAST_RATE_HZ, MOST_RATE_HZ = 8000, 48_000
MOST_LIVE_CHANNELS = 2
LONGEST_UTTERANCE_S = 15.0  # an utterance that lasts longer is cut
IDLE_S = 30


class Codec(DescribedEnum):
    """How the sound of a frame is coded."""

    PCM_S16LE = "pcm_s16le", "Signed 16-bit samples, little-endian, 8 to 48 kHz; the channels of a sample in turn."
    MULAW = "mulaw", "G.711 mu-law, 8 kHz."
    ALAW = "alaw", "G.711 A-law, 8 kHz."
    OPUS = (
        "opus",
        (
            "Opus in Ogg or in WebM, as browsers record it: the frames are the file, cut anywhere. The file says its "
            "sample rate and its channels; `sample_rate` and `channels` have to agree with it."
        ),
    )


_BYTES_A_SAMPLE = {Codec.PCM_S16LE: 2, Codec.MULAW: 1, Codec.ALAW: 1}


class LiveAudio(Input):
    """What the frames of a live task hold."""

    codec: Codec = Field(Codec.PCM_S16LE, strict=False, description="How the sound is coded.")
    sample_rate: Annotated[int, Field(ge=LEAST_RATE_HZ, le=MOST_RATE_HZ)] = Field(
        16_000, description="Samples a second of each channel, in Hz.", examples=[16_000]
    )
    channels: Annotated[int, Field(ge=1, le=MOST_LIVE_CHANNELS)] = Field(
        1, description="Number of channels.", examples=[1]
    )

    @model_validator(mode="after")
    def _telephone(self) -> Self:
        if self.codec in {Codec.MULAW, Codec.ALAW} and self.sample_rate != LEAST_RATE_HZ:
            message = f"{self.codec} has a sample_rate of {LEAST_RATE_HZ}"
            raise ValueError(message)
        return self

    @property
    def sample_bytes(self) -> int:
        """The bytes of one sample of all channels; 0 for Opus, whose samples have no fixed size."""
        return _BYTES_A_SAMPLE.get(self.codec, 0) * self.channels

    def frame_error(self, number: int, size: int) -> str | None:
        """Return why a frame of `size` bytes is invalid; None if it holds whole samples of all channels."""
        if self.sample_bytes and size % self.sample_bytes:
            return f"The frame {number} has {size} bytes: publish frames of whole samples, under a new task id."
        return None


class LiveNames(Input):
    """The fields that name a live task and its user, and say what its frames hold."""

    task_id: TaskId
    user_id: UserId
    audio: LiveAudio = Field(LiveAudio(), description="What the frames hold.")
    idle_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        IDLE_S, description="Seconds without a frame after which the recording ends with what was said.", examples=[30]
    )


class LiveTask(SpeakerBounds, TranscribeOptions, LiveNames):  # the last base has the first fields
    """Asks for the text of sound that is published while people speak.

    With `channels: auto` two channels are transcribed each on its own: send one channel if there is one microphone.
    """

    keep_seconds: KeepSeconds = None
    keep_audio: bool = Field(
        default=False, description="Store the sound at its end as a recording whose name is the task id."
    )
    identify: Identify = False
    diarize: bool = Field(
        default=False,
        description="Find the speaker of each segment at the end. "
        "If each channel is a speaker, only `identify` uses it.",
    )
    word_timestamps: bool = Field(default=False, description="Give each word its time and probability.")

    @model_validator(mode="after")
    def _identifies_speakers(self) -> Self:
        if self.identify and not self.diarize:
            raise ValueError(IDENTIFIES_SPEAKERS)
        return self

    @property
    def audio_file_id(self) -> str:
        """The name of the recording: the task id, though the recording is stored only with `keep_audio`."""
        return self.task_id


class LiveKeywords(TranscribeKeywords, total=False):
    """The fields of LiveTask but id and audio, as keywords of a typed call; a test compares the names of both."""

    user_id: int | str
    idle_seconds: int
    keep_seconds: int | None
    keep_audio: bool
    diarize: bool
    identify: bool
    min_speakers: int | None
    max_speakers: int | None
    word_timestamps: bool


class Partial(Message):
    """The text of an utterance that is not over yet: each partial replaces the one before it.

    Partials are not stored. The utterance's segments, on `segments.{task_id}`, replace its partials.
    """

    task_id: TaskId
    channel: Channel | None = Field(None, description="The channel, from 0; null: the channels are mixed.")
    start: Start = Field(description="Where the utterance begins, in seconds from the start of the recording.")
    end: End = Field(description="Up to where the sound is heard, in seconds from the start of the recording.")
    stable: str = Field(
        description="The words on which two looks agreed: later partials of this utterance begin with them.",
        examples=["Good morning,"],
    )
    text: str = Field(description="All words so far; begins with `stable`.", examples=["Good morning, shall we"])
    language: Language | None = Field(None, description="Spoken language, ISO 639-1; null if not known.")
