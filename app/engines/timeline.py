"""The timeline of a window, whose sound is joined pieces of a recording: times in it become times in the recording."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from schemas.transcription import Word

Piece = tuple[float, float]

_SOME_S = 0.15  # of a word: word times are no more exact than that


class Timeline:
    """Maps times in a window to the recording; the pieces are seconds from the recording's start, in order."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._starts = [0.0, *accumulate(end - start for start, end in pieces)]

    @property
    def speech(self) -> list[Piece]:
        """The pieces, in seconds from the start of the window."""
        return list(zip(self._starts, self._starts[1:], strict=False))

    def word(self, word: Word) -> Word:
        """Move a word to its time in the recording, in the last piece that has some of it.

        A model often begins a word with the silence before it, and seldom ends one with the silence behind it.
        """
        number = self._piece_at(max(word.end - _SOME_S, word.start))
        start, end = self._within(number, word.start, word.end)
        return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})

    def sections(self, start: float, end: float) -> list[Piece]:
        """Move a section to the recording: the part of each piece that lies in it."""
        pieces = range(self._piece_at(start), self._piece_at(end) + 1)
        parts = [self._within(piece, start, end) for piece in pieces]
        return [(first, last) for first, last in parts if last > first]

    def _piece_at(self, second: float) -> int:
        return min(max(bisect_right(self._starts, second) - 1, 0), len(self._pieces) - 1)

    def _within(self, number: int, start: float, end: float) -> Piece:
        """Move a section to the recording, as far as it lies within one piece."""
        first, last = self._pieces[number]
        moved = first - self._starts[number]
        begin = min(max(start + moved, first), last)
        return begin, min(max(end + moved, begin), last)
