"""The timeline of a window: its sound is pieces of a recording, joined; times in it are times in the recording."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from schemas.transcription import Word

Piece = tuple[float, float]

_SILENCE_S = 0.3  # at each end of a piece, about


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
        """A word of the window, at its time in the recording: in the piece that has most of it.

        A model often begins a word with the silence before it; so silence at the ends of pieces does not count.
        """
        pieces = range(self._piece_at(word.start), self._piece_at(word.end) + 1)
        number = max(pieces, key=lambda piece: (self._voiced(piece, word), -abs(self._middle(piece) - word.end)))
        start, end = self._within(number, word.start, word.end)
        return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})

    def moment(self, second: float) -> float:
        """A moment of the window, in the recording."""
        return self._within(self._piece_at(second), second, second)[0]

    def _piece_at(self, second: float) -> int:
        return min(max(bisect_right(self._starts, second) - 1, 0), len(self._pieces) - 1)

    def _middle(self, number: int) -> float:
        return (self._starts[number] + self._starts[number + 1]) / 2

    def _voiced(self, number: int, word: Word) -> float:
        """Seconds of a word within a piece, the silence at the piece's ends left out."""
        start, end = self._starts[number], self._starts[number + 1]
        silence = min(_SILENCE_S, (end - start) / 3)
        return max(min(word.end, end - silence) - max(word.start, start + silence), 0.0)

    def _within(self, number: int, start: float, end: float) -> Piece:
        """A stretch of the window in the recording, as far as it lies within one piece."""
        first, last = self._pieces[number]
        moved = first - self._starts[number]
        begin = min(max(start + moved, first), last)
        return begin, min(max(end + moved, begin), last)
