"""Divide a transcript into turns; here a long pause ends a turn, too."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from natscribe.schemas.transcription import Segment
from natscribe.subtitles.timing import PAUSE_S
from natscribe.subtitles.units import Unit, units


@dataclass(frozen=True, slots=True)
class Turn:
    """Speech of one speaker without a long pause; a cue belongs to one turn."""

    speaker: str | None
    units: Sequence[Unit]
    following: float = inf  # start of the first turn after the end of this turn, in seconds

    @property
    def start(self) -> float:
        """When the turn begins, in seconds."""
        return self.units[0].start

    @property
    def end(self) -> float:
        """When the turn ends, in seconds."""
        return self.units[-1].end


def turns(segments: Iterable[Segment], longest: int) -> list[Turn]:
    """Join a speaker's segments to turns, and end a turn at a long pause; a unit fills at most `longest` columns."""
    found = sorted(_turns(segments, longest), key=lambda turn: turn.start)
    starts = [turn.start for turn in found]
    following = [bisect_left(starts, turn.end, lo=place + 1) for place, turn in enumerate(found)]
    return [
        replace(turn, following=starts[behind]) if behind < len(starts) else turn
        for turn, behind in zip(found, following, strict=True)
    ]


def interrupted(found: Sequence[Turn]) -> list[bool]:
    """Find for each turn whether another speaker speaks at the same time."""
    answers = [False] * len(found)
    open_: list[int] = []
    for place, turn in enumerate(found):
        open_ = [earlier for earlier in open_ if found[earlier].end > turn.start]
        for earlier in open_:
            if found[earlier].speaker != turn.speaker:
                answers[earlier] = answers[place] = True
        open_.append(place)
    return answers


def _turns(segments: Iterable[Segment], longest: int) -> Iterator[Turn]:
    spoken: list[Unit] = []
    speaker: str | None = None
    for segment in sorted(segments, key=lambda segment: segment.start):
        for unit in units(segment, longest):
            # Rounded, because the difference of two times in milliseconds is inexact.
            pause = round(unit.start - spoken[-1].end, 3) if spoken else 0.0
            if spoken and (segment.speaker != speaker or pause >= PAUSE_S):
                yield Turn(speaker, spoken)
                spoken = []
            speaker = segment.speaker
            # The times of words may overlap a little.
            start = max(unit.start, spoken[-1].start) if spoken else unit.start
            spoken.append(replace(unit, start=start, end=max(start, unit.end)))
    if spoken:
        yield Turn(speaker, spoken)
