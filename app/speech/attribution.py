"""Attribute the words of a transcript to the speakers of a diarization.

The times of words are inexact, and so are the ends of turns: if each word got its speaker on its own, words near a
change of speaker would often get the wrong one. So speakers are chosen for all words together: each word has evidence
from the turns around it, and a change of speaker within a sentence costs a little more than the evidence of a word that
lies wholly in somebody's turn (docs/decisions/0029).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from statistics import fmean

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment, Word

from app.engines.audio.timeline import Times
from app.engines.text.sentences import ends_sentence, text_of

_INEXACT_S = 0.3  # turns up to this long before and after a word are half of the evidence
_FAR_S = 1.0  # a turn this far from a word is halfway to being no evidence for its speaker at all
_CHANGE = 1.3  # the cost of a change of speaker within a sentence, in words that lie wholly in somebody's turn
_PAUSE_S = 0.3  # after a pause this long, a change costs nothing; after a shorter one, proportionally less

Evidence = Sequence[float]  # for each speaker, from -1 (far away) to 1 (the word lies wholly in the speaker's turns)
Spoken = Segment | Word


def attribute(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Assign a speaker to each word, and cut segments where the speaker changes.

    A segment without words gets one speaker as a whole. Without turns, no segment gets a speaker.
    """
    speakers = sorted({turn.speaker for turn in turns})
    if not speakers:
        return [segment.model_copy(update={"speaker": None}) for segment in segments]
    evidence_of = _finder(turns, speakers)
    spoken: list[Spoken] = []
    for segment in segments:
        spoken.extend(segment.words or [segment])
    chosen = iter([speakers[number] for number in _likeliest(spoken, evidence_of)])
    return [each for segment in segments for each in _cut(segment, chosen)]


def _cut(segment: Segment, chosen: Iterator[str]) -> Iterator[Segment]:
    """Cut a segment where the speaker changes, and yield the parts; `chosen` yields the speaker of each word."""
    if not segment.words:
        yield segment.model_copy(update={"speaker": next(chosen)})
        return
    attributed = [(next(chosen), word) for word in segment.words]
    for speaker, group in groupby(attributed, key=itemgetter(0)):
        yield _with_words(segment, [word for _, word in group], speaker)


def _with_words(segment: Segment, words: list[Word], speaker: str) -> Segment:
    changed = {
        "start": words[0].start,
        "end": max(word.end for word in words),
        "text": text_of(words),
        "words": words,
        "confidence": fmean(word.probability for word in words),
        "speaker": speaker,
    }
    return segment.model_copy(update=changed)


def _likeliest(spoken: Sequence[Spoken], evidence_of: Callable[[Spoken], Evidence]) -> list[int]:
    """Return the number of the speaker of each word, so that all evidence, less the costs of changes, is highest.

    This is the Viterbi algorithm (1967).
    """
    if not spoken:
        return []
    best = list(evidence_of(spoken[0]))
    came_from: list[list[int]] = []
    for before, word in pairwise(spoken):
        leader = max(range(len(best)), key=best.__getitem__)
        change = best[leader] - _cost_of_change(before, word)
        came_from.append([number if own >= change else leader for number, own in enumerate(best)])
        best = [max(own, change) + here for own, here in zip(best, evidence_of(word), strict=True)]
    path = [max(range(len(best)), key=best.__getitem__)]
    for origins in reversed(came_from):
        path.append(origins[path[-1]])
    return path[::-1]


def _cost_of_change(before: Spoken, word: Spoken) -> float:
    if not isinstance(before, Word) or not isinstance(word, Word) or ends_sentence(before):
        return 0.0
    return _CHANGE * max(0.0, 1 - max(word.start - before.end, 0.0) / _PAUSE_S)


def _finder(turns: Sequence[Turn], speakers: Sequence[str]) -> Callable[[Spoken], Evidence]:
    """Build the function that returns, for a word or segment, the evidence for each speaker.

    The function finds turns by binary search, because a day of speech has tens of thousands of words and turns. The
    turns of one speaker must not overlap.
    """
    ordered = sorted(turns, key=lambda turn: turn.start)
    by_speaker = [[turn for turn in ordered if turn.speaker == speaker] for speaker in speakers]
    edges = [([turn.start for turn in each], [turn.end for turn in each]) for each in by_speaker]
    return lambda each: [_evidence(starts, ends, each.start, each.end) for starts, ends in edges]


def _evidence(starts: Sequence[float], ends: Sequence[float], start: float, end: float) -> float:
    """Return the evidence, -1 to 1, that a speaker with turns at these times spoke from `start` to `end`."""
    first, last = bisect_right(ends, start - _INEXACT_S), bisect_right(starts, end + _INEXACT_S)
    if first >= last:
        before, after = ends[max(first - 1, 0) : first], starts[last : last + 1]
        away = min([start - _INEXACT_S - each for each in before] + [each - end - _INEXACT_S for each in after])
        return -away / (away + _FAR_S)
    turns = list(zip(starts[first:last], ends[first:last], strict=True))
    return (_share(turns, start, end) + _share(turns, start - _INEXACT_S, end + _INEXACT_S)) / 2


def _share(turns: Sequence[Times], start: float, end: float) -> float:
    """Return how much of the time from `start` to `end` lies in the turns, from 0 to 1."""
    inside = sum(max(min(last, end) - max(first, start), 0.0) for first, last in turns)
    return inside / (end - start) if end > start else 0.0
