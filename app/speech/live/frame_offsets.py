"""Frame offsets: points between two frames of a live task from which another worker can continue the task."""

import re
from collections import deque
from dataclasses import dataclass

from natscribe.schemas.live import LiveAudio

# The voice detector resets its state every 33 s, and then processes the 2 s before (engines/audio/speech_detector.py):
# what it detects from some time on depends on the audio of this length before that time.
REPROCESSED_S = 36.0
_BETWEEN_S = 1.0  # between two retained offsets


@dataclass(frozen=True, slots=True)
class FrameOffset:
    """A point between two frames (messages with audio) of a live task; without arguments, the start of the audio.

    `sequence`: the stream sequence of the last message before the point. `frame`: the number of the frame after the
    point. `size`: the bytes of audio before the point, including silence for missing frames. `finalized`: the number of
    the frame after the last one whose mark is published; it may be after the point.
    """

    sequence: int = 0
    frame: int = 0
    size: int = 0
    finalized: int = 0

    def __str__(self) -> str:
        return f"{self.sequence} {self.frame} {self.size} {self.finalized}"

    @classmethod
    def parse(cls, text: str | None) -> "FrameOffset":
        """Parse the text of an offset, as `str` returns it; any other text, or None, yields the start of the audio."""
        if text is None or not re.fullmatch(r"\d+ \d+ \d+( \d+)?", text, re.ASCII):
            return cls()
        return cls(*map(int, text.split(" ")))


class FrameOffsets:
    """Retains the frame offsets from which a worker that takes over a live task can read its audio.

    A frame offset is a point between two frames, i.e. messages with audio. Of Opus audio only the start is retained:
    its duration cannot be computed from its size, and its container has to be decoded from the beginning.
    """

    def __init__(self, audio: LiveAudio, first: FrameOffset) -> None:
        self._bytes_a_second = audio.sample_bytes * audio.sample_rate
        self._passed = deque([first])

    @property
    def first(self) -> FrameOffset:
        """The offset from which a worker that takes over the task has to read frames."""
        return self._passed[0]

    def seconds(self, offset: FrameOffset) -> float:
        """Convert an offset to seconds from the start of the audio.

        Of Opus audio, whose duration cannot be computed from its size, all offsets yield 0.
        """
        return offset.size / self._bytes_a_second if self._bytes_a_second else 0.0

    def add(self, offset: FrameOffset) -> None:
        """Retain an offset, so that another worker can continue the task from there.

        Do nothing if it is less than 1 s of audio after the last retained offset. `offset`: the point up to which the
        audio has been read.
        """
        if self.seconds(offset) >= self.seconds(self._passed[-1]) + _BETWEEN_S:
            self._passed.append(offset)

    def drop_before(self, second: float) -> None:
        """Remove the offsets of frames that nobody reads again once the text is complete up to `second` (in seconds).

        A worker that continues after this text starts to read REPROCESSED_S seconds earlier, so that its voice activity
        detector gets into the same state.
        """
        while len(self._passed) > 1 and self.seconds(self._passed[1]) <= second - REPROCESSED_S:
            self._passed.popleft()
