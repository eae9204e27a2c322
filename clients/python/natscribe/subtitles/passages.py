"""Divide a transcript into passages: speech of one speaker without a long pause."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from natscribe.schemas.transcription import Segment
from natscribe.subtitles.pieces import Piece, pieces
from natscribe.subtitles.timing import PAUSE_S


@dataclass(frozen=True, slots=True)
class Passage:
    """Speech of one speaker without a long pause: no cue reaches from one passage into another."""

    speaker: str | None
    pieces: Sequence[Piece]
    following: float = inf  # start of the first passage after the end of this passage, in seconds

    @property
    def start(self) -> float:
        """When the passage begins, in seconds."""
        return self.pieces[0].start

    @property
    def end(self) -> float:
        """When the passage ends, in seconds."""
        return self.pieces[-1].end


def passages(segments: Iterable[Segment], longest: int) -> list[Passage]:
    """Join a speaker's consecutive segments to passages and cut at pauses; a piece fills at most `longest` columns."""
    found = sorted(_passages(segments, longest), key=lambda passage: passage.start)
    starts = [passage.start for passage in found]
    following = [bisect_left(starts, passage.end, lo=place + 1) for place, passage in enumerate(found)]
    return [
        replace(passage, following=starts[behind]) if behind < len(starts) else passage
        for passage, behind in zip(found, following, strict=True)
    ]


def interrupted(found: Sequence[Passage]) -> list[bool]:
    """Find for each passage whether another speaker speaks at the same time."""
    answers = [False] * len(found)
    open_: list[int] = []
    for place, passage in enumerate(found):
        open_ = [earlier for earlier in open_ if found[earlier].end > passage.start]
        for earlier in open_:
            if found[earlier].speaker != passage.speaker:
                answers[earlier] = answers[place] = True
        open_.append(place)
    return answers


def _passages(segments: Iterable[Segment], longest: int) -> Iterator[Passage]:
    spoken: list[Piece] = []
    speaker: str | None = None
    for segment in sorted(segments, key=lambda segment: segment.start):
        for piece in pieces(segment, longest):
            # Rounded, because the difference of two times in milliseconds is inexact.
            pause = round(piece.start - spoken[-1].end, 3) if spoken else 0.0
            if spoken and (segment.speaker != speaker or pause >= PAUSE_S):
                yield Passage(speaker, spoken)
                spoken = []
            speaker = segment.speaker
            # The times of words may overlap a little.
            start = max(piece.start, spoken[-1].start) if spoken else piece.start
            spoken.append(replace(piece, start=start, end=max(start, piece.end)))
    if spoken:
        yield Passage(speaker, spoken)
