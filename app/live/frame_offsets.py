"""Offsets in the audio of a live task, from which a worker that takes over the task processes its audio."""

import re
from collections import deque
from dataclasses import dataclass

from natscribe.schemas.live import LiveAudio

# The voice detector resets its state every 33 s, and then processes the 2 s before (engines/audio/speech_detector.py):
# audio of this length before a second determines what is detected from that second on.
REPROCESSED_S = 36.0
_BETWEEN_S = 1.0  # between two retained offsets


@dataclass(frozen=True, slots=True)
class FrameOffset:
    """An offset between two frames; without arguments: the start of the audio."""

    sequence: int = 0  # of the last message before the offset, in the stream
    frame: int = 0  # number of the frame after the offset
    size: int = 0  # bytes of audio before the offset, including silence for missing frames

    def __str__(self) -> str:
        return f"{self.sequence} {self.frame} {self.size}"

    @classmethod
    def parse(cls, text: str | None) -> "FrameOffset":
        """Parse the text that `str` returns; any other text, or None, is the start of the audio."""
        if text is None or not re.fullmatch(r"\d+ \d+ \d+", text, re.ASCII):
            return cls()
        return cls(*map(int, text.split(" ")))


class FrameOffsets:
    """The offsets that the reader of a task's frames has passed; another worker has to begin at the first of them.

    A file with Opus has only the offset at its start: the number of its bytes does not determine their duration, and a
    file is not decoded from its middle.
    """

    def __init__(self, audio: LiveAudio, first: FrameOffset) -> None:
        self._bytes_a_second = audio.sample_bytes * audio.sample_rate
        self._passed = deque([first])

    @property
    def first(self) -> FrameOffset:
        """The offset at which another worker has to begin to read frames."""
        return self._passed[0]

    def seconds(self, offset: FrameOffset) -> float:
        """Return an offset in seconds from the start of the audio; 0 if the audio is Opus."""
        return offset.size / self._bytes_a_second if self._bytes_a_second else 0.0

    def add(self, offset: FrameOffset) -> None:
        """Add an offset that the reader has passed, if it is a second or more after the last one."""
        if self.seconds(offset) >= self.seconds(self._passed[-1]) + _BETWEEN_S:
            self._passed.append(offset)

    def drop_before(self, second: float) -> None:
        """Remove the offsets that a worker does not need if it continues the text at `second`."""
        while len(self._passed) > 1 and self.seconds(self._passed[1]) <= second - REPROCESSED_S:
            self._passed.popleft()
