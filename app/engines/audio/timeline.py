"""Map times in a window to times in its recording: a window joins regions of speech, without the pauses between."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from natscribe.schemas.transcription import Word

Times = tuple[float, float]  # start and end, in seconds

WORD_TOLERANCE_S = 0.15  # the times of words may be wrong by this much


class Timeline:
    """Maps times in a window, which joins regions of speech without the pauses between them, to times in the recording.

    `regions`: the start and end of each region, in seconds from the start of the recording.
    """

    def __init__(self, regions: Sequence[Times]) -> None:
        self._regions = regions
        self._starts = [0.0, *accumulate(end - start for start, end in regions)]

    @property
    def speech(self) -> list[Times]:
        """The start and end of each region, in seconds from the start of the window."""
        return list(zip(self._starts, self._starts[1:], strict=False))

    def word(self, word: Word) -> Word:
        """Return a copy of `word` whose times, given in the window, are converted to times in the recording.

        They are limited to the region in which the word ends, because models often include the silence before a word in
        its times, and seldom the silence after it.
        """
        start, end = self._within(self._region_of(word), word.start, word.end)
        return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})

    def in_window(self, word: Word) -> Times:
        """Return the start and end of `word` in the window; it starts no earlier than the region in which it ends."""
        return min(max(word.start, self._starts[self._region_of(word)]), word.end), word.end

    def in_recording(self, start: float, end: float) -> list[Times]:
        """Map the interval from `start` to `end` in the window to intervals in the recording, one for each region.

        An interval that extends over several regions is split, because the recording has pauses between them.
        """
        regions = range(self._region_at(start), self._region_at(end) + 1)
        times = [self._within(region, start, end) for region in regions]
        return [(first, last) for first, last in times if last > first]

    def _region_of(self, word: Word) -> int:
        return self._region_at(max(word.end - WORD_TOLERANCE_S, word.start))

    def _region_at(self, second: float) -> int:
        return min(max(bisect_right(self._starts, second) - 1, 0), len(self._regions) - 1)

    def _within(self, region: int, start: float, end: float) -> Times:
        """Map an interval of the window to the recording, and limit it to the region with the index `region`."""
        first, last = self._regions[region]
        shift = first - self._starts[region]
        mapped_start = min(max(start + shift, first), last)
        return mapped_start, min(max(end + shift, mapped_start), last)
