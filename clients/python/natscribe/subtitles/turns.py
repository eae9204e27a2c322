"""Divides a transcript into turns for subtitles: a change of the speaker or a long pause starts a new turn."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from natscribe.schemas.transcription import Segment
from natscribe.subtitles.timing import PAUSE_S
from natscribe.subtitles.units import Unit, units


@dataclass(frozen=True, slots=True)
class Turn:
    """Speech of one speaker without a long pause; a subtitle cue never contains speech of two turns.

    `following`: the time in seconds at which the next turn after the end of this turn starts; infinity if none does.
    """

    speaker: str | None
    units: Sequence[Unit]
    following: float = inf  # start of the first turn after the end of this turn, in seconds

    @property
    def start(self) -> float:
        """The time in seconds at which the first unit of the turn starts."""
        return self.units[0].start

    @property
    def end(self) -> float:
        """The time in seconds at which the last unit of the turn ends."""
        return self.units[-1].end


def turns(segments: Iterable[Segment], longest: int) -> list[Turn]:
    """Divide the words of segments into turns, and return the turns sorted by start.

    A turn ends where the speaker changes or makes a long pause. `longest`: the largest number of columns in a line;
    longer words are split, so that a line may break inside them.
    """
    by_start = sorted(_turns(segments, longest), key=lambda turn: turn.start)
    starts = [*(turn.start for turn in by_start), inf]
    return [
        replace(turn, following=starts[bisect_left(starts, turn.end, lo=index, hi=len(by_start))])
        for index, turn in enumerate(by_start, start=1)
    ]


def overlapped(by_start: Sequence[Turn]) -> list[bool]:
    """Return for each turn whether it overlaps a turn of another speaker; the turns are sorted by start."""
    result = [False] * len(by_start)
    ongoing: list[int] = []
    for index, turn in enumerate(by_start):
        ongoing = [earlier for earlier in ongoing if by_start[earlier].end > turn.start]
        for earlier in ongoing:
            if by_start[earlier].speaker != turn.speaker:
                result[earlier] = result[index] = True
        ongoing.append(index)
    return result


def _turns(segments: Iterable[Segment], longest: int) -> Iterator[Turn]:
    turn_units: list[Unit] = []
    speaker: str | None = None
    for segment in sorted(segments, key=lambda segment: segment.start):
        for unit in units(segment, longest):
            # Rounded, because the difference of two times in milliseconds is inexact.
            pause = round(unit.start - turn_units[-1].end, 3) if turn_units else 0.0
            if turn_units and (segment.speaker != speaker or pause >= PAUSE_S):
                yield Turn(speaker, turn_units)
                turn_units = []
            speaker = segment.speaker
            # The intervals of words may overlap a little.
            start = max(unit.start, turn_units[-1].start) if turn_units else unit.start
            turn_units.append(replace(unit, start=start, end=max(start, unit.end)))
    if turn_units:
        yield Turn(speaker, turn_units)
