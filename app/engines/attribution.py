"""Attribute the words of a transcript to the speakers of a diarization."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from statistics import fmean

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment, Word

from app.engines.sentences import text_of


def attribute(segments: Iterable[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Assign a speaker to each word, and cut segments where the speaker changes.

    A segment without words gets one speaker as a whole. Without turns, no segment gets a speaker.
    """
    speaker_of = _finder(turns)
    return [part for segment in segments for part in _parts(segment, speaker_of)]


def _parts(segment: Segment, speaker_of: Callable[[Segment | Word], str | None]) -> Iterator[Segment]:
    if not segment.words:
        yield segment.model_copy(update={"speaker": speaker_of(segment)})
        return
    for speaker, group in groupby(segment.words, key=speaker_of):
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


def _finder(turns: Sequence[Turn]) -> Callable[[Segment | Word], str | None]:
    """Build a function that finds the speaker of a word or segment by binary search in the turns.

    A day of speech has tens of thousands of words and turns.
    """
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end))
    starts = [turn.start for turn in ordered]
    longest = max((turn.end - turn.start for turn in turns), default=0.0)

    def speaker_of(part: Segment | Word) -> str | None:
        """Return the speaker of the turn that overlaps the word or segment most, or else of the nearest turn."""
        first = bisect_right(starts, part.start - longest) - 1
        last = bisect_right(starts, part.end) + 1
        best = max(ordered[max(first, 0) : last], key=lambda turn: _overlap(turn, part), default=None)
        return best.speaker if best else None

    return speaker_of


def _overlap(turn: Turn, part: Segment | Word) -> float:
    """Return the seconds by which a turn and a part overlap; a negative number is the distance between them."""
    return min(turn.end, part.end) - max(turn.start, part.start)
