"""Chooses the display times of cues: close to their speech, long enough to be read, and one at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf

MIN_CUE_S = 1.0  # a cue should be displayed for at least this long
READING_CPS = 21.0  # reading speed of adults in columns a second; a wide (Chinese) character has two columns
GAP_S = 0.08  # gap between two cues, two video frames: without a gap, viewers miss that the text has changed
PAUSE_S = 1.0  # no cue reaches across a pause of its speaker that is this long

_EARLY_S = 0.5  # a cue begins at most this long before its speech
_LATE_S = 0.5  # a cue with time to spare begins at most this long after its speech
_LATEST_S = 2.0  # any cue begins at most this long after its speech, even if the cue before it becomes too short
_FLICKER_S = 0.5  # a gap shorter than this is reduced to GAP_S
_FRAME_S = 0.04  # shortest time that a cue is displayed: one video frame


@dataclass(frozen=True, slots=True)
class CueSpeech:
    """When the text of a cue is spoken, from `start` to `end` in seconds, and its width in columns."""

    start: float
    end: float
    columns: int

    @property
    def display_seconds(self) -> float:
        """For how many seconds the cue should be displayed, so that it can be read."""
        return max(MIN_CUE_S, ceil(1000 * self.columns / READING_CPS) / 1000)


def display_times(cues: Sequence[CueSpeech], max_cue_seconds: float) -> Iterator[tuple[float, float]]:
    """Yield for each cue the times in seconds at which it appears and disappears; `cues` are sorted by start.

    If a cue is spoken faster than it can be read, it stays longer, in the silence after its speech. If this silence is
    too short, the cue also appears earlier, in the silence before its speech, or delays the next cue.
    """
    free = 0.0  # the time from which no earlier cue is displayed
    for cue, following, spare in zip(cues, _next_starts(cues), _spare(cues), strict=True):
        limit = following - GAP_S
        start = max(cue.start, free)
        display_seconds = min(cue.display_seconds, max_cue_seconds)
        if start + display_seconds > limit:
            start = max(free, min(start, cue.start - min(start + display_seconds - limit, _EARLY_S)))
        end = max(cue.end, start + display_seconds)
        if end > following - _FLICKER_S:
            end = max(limit, min(start + display_seconds, limit + spare), min(start + MIN_CUE_S, limit + _LATEST_S))
        end = max(min(end, start + max_cue_seconds), start + _FRAME_S)
        yield start, end
        free = end + GAP_S


def _next_starts(cues: Sequence[CueSpeech]) -> list[float]:
    """Return for each cue the time in seconds at which the speech of the next cue starts; infinity for the last cue."""
    return [*(cue.start for cue in cues[1:]), inf][: len(cues)]


def _spare(cues: Sequence[CueSpeech]) -> list[float]:
    """Return, for each cue, how late the next cue may appear: in seconds from the start of the next cue's speech.

    The delay is at most _LATE_S, and leaves enough time to read the next cue before a further cue appears. For the last
    cue, 0 is returned.
    """
    room_after = [
        stop - GAP_S - cue.start - cue.display_seconds for cue, stop in zip(cues, _next_starts(cues), strict=True)
    ]
    return [*(max(min(room, _LATE_S), 0.0) for room in room_after[1:]), 0.0][: len(cues)]
