"""Choose when cues are shown: with their speech, long enough to be read, one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf

MIN_CUE_S = 1.0  # a cue should be shown for at least this long
READING_CPS = 21.0  # reading speed of adults in columns a second; a wide (Chinese) character has two columns
GAP_S = 0.08  # gap between two cues, two video frames: without a gap, viewers miss that the text has changed
PAUSE_S = 1.0  # no cue reaches across a pause of its speaker that is this long

_EARLY_S = 0.5  # a cue begins at most this long before its speech
_LATE_S = 0.5  # a cue with time to spare begins at most this long after its speech
_LATEST_S = 2.0  # any cue begins at most this long after its speech, even if the cue before it becomes too short
_FLICKER_S = 0.5  # a gap shorter than this is reduced to GAP_S
_FRAME_S = 0.04  # shortest time that a cue is shown: one video frame


@dataclass(frozen=True, slots=True)
class Spoken:
    """When a cue's words are spoken, in seconds to the millisecond, and how many columns they fill."""

    start: float
    end: float
    columns: int

    @property
    def need(self) -> float:
        """How long the cue should be shown, in seconds."""
        return max(MIN_CUE_S, ceil(1000 * self.columns / READING_CPS) / 1000)


def shown(cues: Sequence[Spoken], max_cue_seconds: float) -> Iterator[tuple[float, float]]:
    """Yield when each cue appears and disappears, in seconds; `cues` are sorted by start.

    A cue that is too short or too fast to read stays in the silence after it, or begins in the silence before it, or
    delays the next cue.
    """
    free = 0.0  # the second from which on no earlier cue is shown
    for cue, following, spare in zip(cues, _following(cues), _spare(cues), strict=True):
        limit = following - GAP_S
        start = max(cue.start, free)
        need = min(cue.need, max_cue_seconds)
        if start + need > limit:
            start = max(free, min(start, cue.start - min(start + need - limit, _EARLY_S)))
        end = max(cue.end, start + need)
        if end > following - _FLICKER_S:
            end = max(limit, min(start + need, limit + spare), min(start + MIN_CUE_S, limit + _LATEST_S))
        end = max(min(end, start + max_cue_seconds), start + _FRAME_S)
        yield start, end
        free = end + GAP_S


def _following(cues: Sequence[Spoken]) -> list[float]:
    """Return for each cue when the next cue's words begin, in seconds; infinity for the last cue."""
    return [*(cue.start for cue in cues[1:]), inf][: len(cues)]


def _spare(cues: Sequence[Spoken]) -> list[float]:
    """Return for each cue the seconds by which the next cue may be late and still be read."""
    rooms = [behind - GAP_S - cue.start - cue.need for cue, behind in zip(cues, _following(cues), strict=True)]
    return [*(max(min(room, _LATE_S), 0.0) for room in rooms[1:]), 0.0][: len(cues)]
