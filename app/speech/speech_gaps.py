"""Find the gaps that diarization shows: speech that has a speaker and no words."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Interval, Segment

from app.engines.audio.timeline import Times
from app.engines.text.coverage import MIN_GAP_S, max_word_seconds

_MARGIN_S = 0.3  # the times of words and the ends of turns may be wrong by this much


def add_speech_gaps(
    untranscribed: Sequence[Interval], segments: Sequence[Segment], turns: Sequence[Turn]
) -> list[Interval]:
    """Add to `untranscribed` the gaps of a second or more in the turns; no gap is listed twice.

    The voice detector of the transcription may hear silence where diarization hears quiet speech.
    """
    listed = [(each.start, each.end) for each in untranscribed]
    known = _joined([*_spoken(segments), *listed])
    spoken = _joined((turn.start, turn.end) for turn in turns)
    gaps = [gap for times in spoken for gap in _gaps(times, known)]
    found = [Interval(start=start, end=end) for start, end in gaps if end - start >= MIN_GAP_S]
    return merge_intervals([*untranscribed, *found])


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Join stretches that overlap or touch; return them by time."""
    found = _joined((each.start, each.end) for each in intervals)
    return [Interval(start=round(start, 3), end=round(end, 3)) for start, end in found]


def _spoken(segments: Iterable[Segment]) -> Iterator[Times]:
    """Yield when words are spoken, 0.3 s longer on both sides, because the times of words may be wrong by so much.

    A segment without words counts as one word.
    """
    for segment in segments:
        for word in segment.words or ():
            yield word.start - _MARGIN_S, min(word.end, word.start + max_word_seconds(word)) + _MARGIN_S
        if not segment.words:
            yield segment.start - _MARGIN_S, segment.end + _MARGIN_S


def _joined(times: Iterable[Times]) -> list[Times]:
    """Join times that overlap or touch; return the joined times in order."""
    found: list[Times] = []
    for start, end in sorted(times):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _gaps(turn: Times, known: Sequence[Times]) -> Iterator[Times]:
    """Yield the parts of a turn outside of the `known` times, which are in order and do not overlap.

    Some of these gaps have no length.
    """
    start, end = turn
    for first, last in known[max(bisect_left(known, (start, start)) - 1, 0) :]:
        if first >= end:
            break
        yield start, first
        start = max(start, last)
    yield start, end
