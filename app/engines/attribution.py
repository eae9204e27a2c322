"""Attribution: which speaker said which words."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from statistics import fmean
from typing import Protocol

from app.engines.sentences import text_of
from schemas.diarization import Turn
from schemas.transcription import Segment, Word


class _Stretch(Protocol):
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


def attribute(segments: Iterable[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Segments with speakers: each word goes to a speaker, and where the speaker changes the segment is cut.

    Without turns nobody is named. A segment without words goes to one speaker as a whole.
    """
    voices = _Voices(turns)
    return [part for segment in segments for part in _parts(segment, voices)]


def _parts(segment: Segment, voices: "_Voices") -> Iterator[Segment]:
    if not segment.words:
        yield segment.model_copy(update={"speaker": voices.speaker_of(segment)})
        return
    for speaker, group in groupby(segment.words, key=voices.speaker_of):
        words = list(group)
        whole = len(words) == len(segment.words)
        yield segment if whole and segment.speaker == speaker else _part(segment, words, speaker)


def _part(segment: Segment, words: list[Word], speaker: str | None) -> Segment:
    changed = {
        "start": words[0].start,
        "end": max(word.end for word in words),
        "text": text_of(words),
        "words": words,
        "confidence": fmean(word.probability for word in words),
        "speaker": speaker,
    }
    return segment.model_copy(update=changed)


class _Voices:
    """The turns, made quick to look up: a day of speech has tens of thousands of words and turns."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: (turn.start, turn.end))
        self._starts = [turn.start for turn in self._turns]
        self._longest = max((turn.end - turn.start for turn in turns), default=0.0)

    def speaker_of(self, stretch: _Stretch) -> str | None:
        """Who speaks in most of it; where nobody does, whose turn is nearest."""
        first = bisect_right(self._starts, stretch.start - self._longest) - 1
        last = bisect_right(self._starts, stretch.end) + 1
        near = self._turns[max(first, 0) : last]
        best = max(near, key=lambda turn: _overlap(turn, stretch), default=None)
        return best.speaker if best else None


def _overlap(turn: Turn, stretch: _Stretch) -> float:
    """Seconds in common; below 0: seconds between the two."""
    return min(turn.end, stretch.end) - max(turn.start, stretch.start)
