"""Attribute the words of a transcript to the speakers of a diarization.

Word timestamps are inexact, and so are the ends of turns: if a speaker were chosen for each word independently, words
near a speaker change would often get the wrong one. So speakers are chosen for all words together. The turns around a
word are the evidence for its speaker; a speaker change within a sentence costs a little more than the evidence of one
word that lies wholly in one speaker's turn (docs/decisions/0029).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, groupby, pairwise
from operator import itemgetter
from statistics import fmean

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment, Word

from app.engines.audio.timeline import Times
from app.engines.text.sentences import ends_sentence, text_of
from app.speech.speaker_labels import speaker_label

_INEXACT_S = 0.3  # turns up to this long before and after a word are half of the evidence
_FAR_S = 1.0  # at this distance from a word, a turn is halfway to being no evidence for its speaker at all
_CHANGE_COST = 1.3  # of a speaker change within a sentence, in words that lie wholly in one speaker's turn
_PAUSE_S = 0.3  # after a pause this long, a change costs nothing; after a shorter one, proportionally less

Evidence = Sequence[float]  # for each speaker, from -1 (far away) to 1 (the word lies wholly in the speaker's turns)
Unit = Segment | Word  # what is attributed to one speaker


def attribute(segments: Sequence[Segment], turns: Sequence[Turn]) -> list[Segment]:
    """Choose the speaker of each word; return the segments with speakers, split where the speaker changes.

    A segment without words gets one speaker as a whole. Without turns, no segment gets a speaker.
    """
    speakers = sorted({turn.speaker for turn in turns})
    if not speakers:
        return [segment.model_copy(update={"speaker": None}) for segment in segments]
    units: list[Unit] = []
    for segment in segments:
        units.extend(segment.words or [segment])
    path = _best_path(units, _evidence_function(turns, speakers))
    chosen: Iterator[str | None] = iter([speakers[number] for number in path])
    return split(segments, chosen)


def labels_like(
    before: Sequence[Segment], after: Sequence[Segment], speakers: Iterable[str], numbers: Iterable[int] | None = None
) -> dict[str, str]:
    """Choose labels for new speakers so that as much speech as possible keeps the label that it had before.

    `before`, `after`: the same words, attributed to the old and to the new speakers. `speakers`: the new speakers. The
    new speaker and the old label that have the most seconds of speech in common are matched first. The other
    new speakers, in the order of `speakers`, get the first labels, such as SPEAKER_00, that are not in use; `numbers`:
    the numbers of the labels to choose from (None: 0, 1, 2 and so on). Return the label of each new speaker.
    """
    seconds: dict[tuple[str, str], float] = {}
    for (old, unit), (new, _) in zip(attributed_units(before), attributed_units(after), strict=True):
        if old is not None and new is not None:
            seconds[new, old] = seconds.get((new, old), 0.0) + unit.end - unit.start
    labels: dict[str, str] = {}
    for speaker, label in sorted(seconds, key=seconds.__getitem__, reverse=True):
        if label not in labels.values():
            labels.setdefault(speaker, label)
    taken = set(labels.values())
    free = (label for number in numbers or count() if (label := speaker_label(number)) not in taken)
    return labels | {speaker: next(free) for speaker in speakers if speaker not in labels}


def attributed_units(segments: Iterable[Segment]) -> Iterator[tuple[str | None, Unit]]:
    """Yield (speaker, word) for each word, and (speaker, segment) for each segment that has no words."""
    return ((segment.speaker, unit) for segment in segments for unit in segment.words or (segment,))


def split(segments: Sequence[Segment], chosen: Iterator[str | None]) -> list[Segment]:
    """Split segments where the speaker changes.

    `chosen`: the speaker of each word, or of each segment without words, in order; None: unknown.
    """
    return [part for segment in segments for part in _split(segment, chosen)]


def _split(segment: Segment, chosen: Iterator[str | None]) -> Iterator[Segment]:
    """Split a segment where the speaker changes, and yield the resulting segments.

    `chosen` yields the speaker of each word of the segment, or of the whole segment if it has no words.
    """
    if not segment.words:
        yield segment.model_copy(update={"speaker": next(chosen)})
        return
    attributed = [(next(chosen), word) for word in segment.words]
    for speaker, group in groupby(attributed, key=itemgetter(0)):
        words = [word for _, word in group]
        part = {
            "start": words[0].start,
            "end": max(word.end for word in words),
            "text": text_of(words),
            "words": words,
            "confidence": fmean(word.probability for word in words),
            "speaker": speaker,
        }
        yield segment.model_copy(update=part)


def _best_path(units: Sequence[Unit], evidence_of: Callable[[Unit], Evidence]) -> list[int]:
    """Choose a speaker for each unit, i.e. word or segment without words; return the index of each unit's speaker.

    The Viterbi algorithm finds the sequence of speakers with the most evidence, minus a cost for each change of
    speaker. `evidence_of`: returns, for a unit, the evidence for each speaker, from -1 to 1 as in `_evidence`.
    """
    if not units:
        return []
    best = list(evidence_of(units[0]))
    came_from: list[list[int]] = []
    for before, unit in pairwise(units):
        leader = max(range(len(best)), key=best.__getitem__)
        change = best[leader] - _change_cost(before, unit)
        came_from.append([number if own >= change else leader for number, own in enumerate(best)])
        best = [max(own, change) + here for own, here in zip(best, evidence_of(unit), strict=True)]
    path = [max(range(len(best)), key=best.__getitem__)]
    for origins in reversed(came_from):
        path.append(origins[path[-1]])
    return path[::-1]


def _change_cost(before: Unit, unit: Unit) -> float:
    if not isinstance(before, Word) or not isinstance(unit, Word) or ends_sentence(before):
        return 0.0
    return _CHANGE_COST * max(0.0, 1 - max(unit.start - before.end, 0.0) / _PAUSE_S)


def _evidence_function(turns: Sequence[Turn], speakers: Sequence[str]) -> Callable[[Unit], Evidence]:
    """Make a function that returns the evidence for each speaker of a word or segment, from -1 to 1 as in `_evidence`.

    The function finds turns by binary search, because a day of speech has tens of thousands of words and turns. The
    turns of one speaker must not overlap.
    """
    ordered = sorted(turns, key=lambda turn: turn.start)
    by_speaker = [[turn for turn in ordered if turn.speaker == speaker] for speaker in speakers]
    edges = [([turn.start for turn in own], [turn.end for turn in own]) for own in by_speaker]
    return lambda unit: [_evidence(starts, ends, unit.start, unit.end) for starts, ends in edges]


def _evidence(starts: Sequence[float], ends: Sequence[float], start: float, end: float) -> float:
    """Return the evidence that a speaker spoke from `start` to `end` (seconds).

    It is from -1 (the speaker's turns are far away) to 1 (the turns cover the whole interval). `starts`, `ends`: the
    times at which the speaker's turns start and end, in seconds.
    """
    first, last = bisect_right(ends, start - _INEXACT_S), bisect_right(starts, end + _INEXACT_S)
    if first >= last:
        before, after = ends[max(first - 1, 0) : first], starts[last : last + 1]
        distances = [start - _INEXACT_S - turn_end for turn_end in before]
        distance = min(distances + [turn_start - end - _INEXACT_S for turn_start in after])
        return -distance / (distance + _FAR_S)
    turns = list(zip(starts[first:last], ends[first:last], strict=True))
    return (_share(turns, start, end) + _share(turns, start - _INEXACT_S, end + _INEXACT_S)) / 2


def _share(turns: Sequence[Times], start: float, end: float) -> float:
    """Return the fraction (0 to 1) of the interval from `start` to `end` (seconds) that the turns cover."""
    inside = sum(max(min(last, end) - max(first, start), 0.0) for first, last in turns)
    return inside / (end - start) if end > start else 0.0
