"""Find the gaps that diarization reveals: turns of a speaker, or parts of turns, for which there are no words."""

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
    """Add to `untranscribed` the intervals of 1 s or more in which `turns` has speech, but `segments` has no words.

    Return all intervals merged and in order. The transcription cannot report the added intervals itself, because its
    voice activity detection may miss quiet speech that diarization detects.
    """
    listed = [(interval.start, interval.end) for interval in untranscribed]
    covered = merge_times([*_word_times(segments), *listed])
    speech = merge_times((turn.start, turn.end) for turn in turns)
    without_words = [
        Interval(start=start, end=end)
        for times in speech
        for start, end in gaps(times, covered)
        if end - start >= MIN_GAP_S
    ]
    return merge_intervals([*untranscribed, *without_words])


def merge_intervals(intervals: Iterable[Interval]) -> list[Interval]:
    """Merge intervals that overlap or touch; return them in order of time, rounded to milliseconds."""
    merged = merge_times((interval.start, interval.end) for interval in intervals)
    return [Interval(start=round(start, 3), end=round(end, 3)) for start, end in merged]


def _word_times(segments: Iterable[Segment]) -> Iterator[Times]:
    """Yield the interval of each word, extended by 0.3 s on both sides, because word timestamps are inexact.

    A segment without words counts as one word.
    """
    for segment in segments:
        for word in segment.words or ():
            yield word.start - _MARGIN_S, min(word.end, word.start + max_word_seconds(word)) + _MARGIN_S
        if not segment.words:
            yield segment.start - _MARGIN_S, segment.end + _MARGIN_S


def merge_times(times: Iterable[Times]) -> list[Times]:
    """Merge (start, end) pairs that overlap or touch; return them in order of time."""
    merged: list[Times] = []
    for start, end in sorted(times):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return merged


def gaps(turn: Times, covered: Sequence[Times]) -> Iterator[Times]:
    """Yield the parts of a turn that none of the intervals in `covered` covers.

    `covered`: intervals in order of time that do not overlap. Some yielded parts are empty, i.e. end at or before their
    start: the caller has to skip these.
    """
    start, end = turn
    for first, last in covered[max(bisect_left(covered, (start, start)) - 1, 0) :]:
        if first >= end:
            break
        yield start, first
        start = max(start, last)
    yield start, end
