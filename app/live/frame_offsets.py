"""Places in the sound of a live task: a worker that takes over the task hears its sound from one of them on."""

import re
from collections import deque
from dataclasses import dataclass

from natscribe.schemas.live import LiveAudio

# The voice detector starts afresh every 33 s, and hears 2 s before that (app/engines/audio/voice.py): so much sound
# before a second decides what is heard from there on.
REPROCESSED_S = 36.0
_BETWEEN_S = 1.0  # between two places that are remembered


@dataclass(frozen=True, slots=True)
class FrameOffset:
    """A place between two frames, as `Frames.read` needs it; without arguments: the start of the sound."""

    sequence: int = 0  # of the last message before it, in the stream
    frame: int = 0  # number of the frame after it
    size: int = 0  # bytes of sound before it, silence for missing frames included: of samples they tell the second

    def __str__(self) -> str:
        return f"{self.sequence} {self.frame} {self.size}"

    @classmethod
    def parse(cls, text: str | None) -> "FrameOffset":
        """Read a place from the text that `str` has written; any other text, or None, is the start of the sound."""
        if text is None or not re.fullmatch(r"\d+ \d+ \d+", text, re.ASCII):
            return cls()
        return cls(*map(int, text.split(" ")))


class FrameOffsets:
    """The places that the reader of a task's frames has passed; the first is where another worker has to begin.

    A file with Opus has only the place at its start: bytes of Opus do not show how many seconds they are, and a file is
    not read from its middle.
    """

    def __init__(self, audio: LiveAudio, first: FrameOffset) -> None:
        self._bytes_a_second = audio.sample_bytes * audio.sample_rate
        self._passed = deque([first])

    @property
    def first(self) -> FrameOffset:
        """The place at which another worker has to begin to read frames."""
        return self._passed[0]

    def seconds(self, place: FrameOffset) -> float:
        """Return where a place is, in seconds from the start of the sound; 0 if the sound is Opus."""
        return place.size / self._bytes_a_second if self._bytes_a_second else 0.0

    def add(self, place: FrameOffset) -> None:
        """Note a place that the reader has passed, if it is a second or more after the last one."""
        if self.seconds(place) >= self.seconds(self._passed[-1]) + _BETWEEN_S:
            self._passed.append(place)

    def drop_before(self, second: float) -> None:
        """Forget the places that a worker does not need if it goes on with the text at `second`."""
        while len(self._passed) > 1 and self.seconds(self._passed[1]) <= second - REPROCESSED_S:
            self._passed.popleft()
