"""Window sharing: idle workers transcribe parts of a long recording for the worker that runs its task.

A window is up to 20 s of speech that the model transcribes at once; it consists of regions, i.e. intervals of speech
between pauses. These messages are internal to the workers.
"""

from typing import Annotated, Self

from natscribe.schemas.redaction import SpokenEntity
from natscribe.schemas.transcription import Channel, Interval, Language, Segment, TranscribeOptions
from natscribe.schemas.wire import Input, Message, Model, Seconds
from pydantic import Field, model_validator

MAX_WINDOW_S = 20.0  # seconds of audio in the longest window
MAX_REGIONS = 100  # regions of speech in a window
MAX_SPEECH_CHARS = 1300  # two for each frame of 32 ms in the longest window, and a few more
MAX_TEXT_CHARS = 5000  # characters in the text of a window

_BASE64_A_SECOND = 32_000 * 4 / 3  # characters for one second of audio: 16 bits at 16 kHz
_ROUNDING = 8  # characters by which the length of base64 may differ: padding, and one sample

Times = Annotated[tuple[float, float], Field(strict=False)]  # JSON has lists, and no tuples
Token = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{32}$",
        description="Identifies the worker: a random value that nobody can guess.",
        examples=["9f3c2b1a5d6e4f708192a3b4c5d6e7f8"],
    ),
]


class Window(Input):
    """Up to 20 s of speech that the model transcribes at once, as one or more regions of a recording.

    A region is an interval of speech between pauses.
    """

    regions: list[Times] = Field(
        min_length=1,
        max_length=MAX_REGIONS,
        description="Start and end of each region, in seconds from the start of the recording.",
        examples=[[[0.0, 4.2], [5.0, 9.9]]],
    )
    samples: str = Field(
        repr=False, description="Joined samples of the regions, in base64: signed 16-bit, 16 kHz, little-endian."
    )
    speech: str = Field(
        "",
        repr=False,
        max_length=MAX_SPEECH_CHARS,
        pattern=r"^([0-9a-f]{2})*$",
        description="Probability of speech in each 32 ms of the samples, from 00 to ff; empty: unknown.",
    )
    channel: Channel | None = Field(None, description="Number of the channel, from 0; null: the channels are mixed.")
    context: int = Field(
        0,
        ge=0,
        lt=MAX_REGIONS,
        description="Number of leading regions that an earlier window has already transcribed: they are only context, "
        "with which the model transcribes short speech better.",
    )

    @property
    def start(self) -> float:
        """The start of the speech to transcribe, in seconds of the recording: the `context` regions are skipped."""
        return self.regions[self.context][0]

    @property
    def end(self) -> float:
        """The end of the window's last interval of speech, in seconds of the recording."""
        return self.regions[-1][1]


class WindowRequest(Input):
    """A worker's request to idle workers: transcribe a window, i.e. up to 20 s of speech, of its task's recording.

    Any idle worker with the same model and the same engine settings (`fingerprint`) may handle the request.
    """

    window: Window = Field(description="The window, with its samples.")
    options: TranscribeOptions = Field(TranscribeOptions(), description="The options of the task.")
    previous: Language | None = Field(None, description="Language spoken before the window; null if unknown.")
    model: Model = Field(description="The model with which to transcribe the window.")
    fingerprint: str = Field(
        "",
        max_length=100,
        description="Version and settings of the engine with which to transcribe the window.",
        examples=["0.3.0 cpu int8 beam 5"],
    )

    @model_validator(mode="after")
    def _check_length(self) -> Self:
        seconds = sum(end - start for start, end in self.window.regions)
        if not 0 < seconds <= MAX_WINDOW_S + 1e-3:
            message = f"a window has more than 0 and at most {MAX_WINDOW_S:g} s of audio"
            raise ValueError(message)
        if abs(len(self.window.samples) - seconds * _BASE64_A_SECOND) > _ROUNDING:
            message = "the samples are not as long as the regions"
            raise ValueError(message)
        return self


class WindowText(Message):
    """The transcript of a window, i.e. of up to 20 s of speech, and the speech for which the model returned no text."""

    segments: list[Segment] = Field(description="Segments of the window, with times in the recording.")
    untranscribed: list[Interval] = Field(
        default_factory=list, description="Speech in the window for which the model returned no text."
    )
    entities: list[SpokenEntity] = Field(
        default_factory=list, description="What is replaced in the segments; workers send each other plain text."
    )
    language: Language | None = Field(
        None, description="Language at the end of the window; null if the model does not report it."
    )
    settled: bool = Field(True, description="Whether the text is the same whatever language was spoken before.")
    end: Seconds = Field(description="Second of the recording from which the next window may start.", examples=[9.9])
    channel: Channel | None = Field(None, description="The `channel` of the window.")


class WindowReply(Message):
    """The reply to a request to transcribe a window: its text, or null if the worker did not transcribe it.

    A worker does not transcribe the window if it is no longer idle, or if its model or engine settings are not those in
    the request. Then the worker that sent the request transcribes the window itself.
    """

    worker: Token
    text: WindowText | None = Field(description="The text; null: the worker did not transcribe the window.")
