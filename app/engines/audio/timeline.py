"""Map times in a window, whose sound is joined from pieces of a recording, to times in the recording."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from natscribe.schemas.transcription import Word

Piece = tuple[float, float]  # start and end, in seconds

INEXACT_S = 0.15  # the times of words may be wrong by this much


class Timeline:
    """Maps times in a window to the recording; `pieces` are in seconds from the recording's start, in order."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = [0.0, *accumulate(end - start for start, end in pieces)]

    @property
    def speech(self) -> list[Piece]:
        """The pieces, in seconds from the start of the window."""
        return list(zip(self._starts, self._starts[1:], strict=False))

    def word(self, word: Word) -> Word:
        """Map a word to its times in the recording, within the last piece that the word reaches into.

        Models often include the silence before a word in its times, and seldom the silence behind the word.
        """
        number = self._piece_at(max(word.end - INEXACT_S, word.start))
        start, end = self._within(number, word.start, word.end)
        return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})

    def sections(self, start: float, end: float) -> list[Piece]:
        """Map a section of the window to the recording; return the part of each piece that lies in the section."""
        pieces = range(self._piece_at(start), self._piece_at(end) + 1)
        parts = [self._within(piece, start, end) for piece in pieces]
        return [(first, last) for first, last in parts if last > first]

    def _piece_at(self, second: float) -> int:
        return min(max(bisect_right(self._starts, second) - 1, 0), len(self._pieces) - 1)

    def _within(self, number: int, start: float, end: float) -> Piece:
        """Map a section of the window to the recording, limited to the piece `number`."""
        first, last = self._pieces[number]
        moved = first - self._starts[number]
        begin = min(max(start + moved, first), last)
        return begin, min(max(end + moved, begin), last)
