"""What workers send to each other's inboxes: a line of JSON, followed by the sound where there is one."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.engines.messages import LONGEST_WINDOW_S, WindowsTranscribed
from app.settings import MOST_WINDOWS
from schemas.sharing import Token
from schemas.transcription import LANGUAGE_PATTERN, TranscribeOptions

SHORTEST_BATCH_S, LONGEST_BATCH_S = 20.0, 120.0  # the least and the most time that a helper gets for a batch
MOST_PIECES = 100
_BYTES_A_SECOND = 32_000

Send = Callable[[str, bytes], Awaitable[None]]  # to a worker's inbox


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Volunteered(_Line):
    """To the coordinator: this worker is idle, has the model, and waits for windows."""

    type: Literal["volunteered"] = "volunteered"
    run: Token
    helper: Token


class Handed(_Line):
    """To a helper: one window of a batch; its sound follows, signed 16-bit at 16 kHz."""

    type: Literal["handed"] = "handed"
    run: Token
    owner: Token
    batch: Token
    number: int = Field(ge=0, lt=MOST_WINDOWS, description="Its place in the batch.")
    of: int = Field(ge=1, le=MOST_WINDOWS)
    pieces: list[tuple[float, float]] = Field(min_length=1, max_length=MOST_PIECES)
    options: TranscribeOptions
    previous: str | None = Field(pattern=LANGUAGE_PATTERN)

    def fits(self, sound: bytes) -> bool:
        """Whether `sound` can be the sound of this window."""
        seconds = round(sum(end - start for start, end in self.pieces), 3)  # 20.000000000000004 is 20
        return 0 < seconds <= LONGEST_WINDOW_S and len(sound) == round(seconds * _BYTES_A_SECOND / 2) * 2


class Alive(_Line):
    """To the coordinator: the batch is being transcribed."""

    type: Literal["alive"] = "alive"
    batch: Token


class Returned(_Line):
    """To the coordinator: what was found, null where the helper cannot; `more`: whether it waits for another batch."""

    type: Literal["returned"] = "returned"
    batch: Token
    found: WindowsTranscribed | None
    more: bool


Line = Annotated[Volunteered | Handed | Alive | Returned, Field(discriminator="type")]
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def encode(line: Line, sound: bytes = b"") -> bytes:
    """Write the body of a message."""
    return line.model_dump_json().encode() + b"\n" + sound


def decode(body: bytes) -> tuple[Line, bytes]:
    """Read a body: its line, and the sound after it.

    Raises:
        ValueError: The body does not begin with such a line.
    """
    line, _, sound = body.partition(b"\n")
    return _LINE.validate_json(line), sound
