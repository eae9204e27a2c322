"""The timeline of a window: its sound is pieces of a recording, joined; times in it are times in the recording."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from schemas.transcription import Word

Piece = tuple[float, float]


class Timeline:
    """Places what happens in a window; pieces are seconds from the start of the recording, in order."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = [0.0, *accumulate(end - start for start, end in pieces)]

    @property
    def speech(self) -> list[Piece]:
        """The pieces, in seconds from the start of the window."""
        return list(zip(self._starts, self._starts[1:], strict=False))

    def word(self, word: Word) -> Word:
        """A word of the window, at its time in the recording: in the piece in which its middle lies."""
        start, end = self.stretch(word.start, word.end)
        return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})

    def stretch(self, start: float, end: float) -> Piece:
        """A stretch of the window within one piece, in the recording."""
        middle = (start + end) / 2
        number = min(max(bisect_right(self._starts, middle) - 1, 0), len(self._pieces) - 1)
        first, last = self._pieces[number]
        moved = first - self._starts[number]
        begin = min(max(start + moved, first), last)
        return begin, min(max(end + moved, begin), last)
