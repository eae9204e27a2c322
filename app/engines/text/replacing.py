"""Replace characters of a segment, and with them its words."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from natscribe.schemas.transcription import Segment, Word

from app.engines.text.sentences import text_of


@dataclass(frozen=True, slots=True)
class Replacement:
    """What characters `start` to `end` of a text become."""

    start: int
    end: int
    text: str


def spoken_text(segment: Segment) -> str:
    """Return the text to whose characters replacements of a segment refer: its words, joined."""
    return "".join(word.word for word in segment.words) if segment.words else segment.text


def replaced(segment: Segment, replacements: Sequence[Replacement]) -> Segment:
    """Return a segment with other characters; `replacements`: of `spoken_text`, in order, none over another.

    The words of a replacement become one, with the first start, the last end and the lowest probability.
    """
    if not replacements:
        return segment
    if not segment.words:
        text = segment.text
        for item in reversed(replacements):
            text = f"{text[: item.start]}{item.text}{text[item.end :]}"
        return segment.model_copy(update={"text": text.strip()})
    words = list(segment.words)
    starts = list(accumulate((len(word.word) for word in words), initial=0))
    for item in reversed(replacements):
        first, last = bisect_right(starts, item.start) - 1, bisect_left(starts, item.end)
        offset = item.start - starts[first]
        words[first:last] = [_merged(words[first:last], offset, offset + item.end - item.start, item.text)]
    confidence = None if segment.confidence is None else fmean(word.probability for word in words)
    return segment.model_copy(update={"text": text_of(words), "words": words, "confidence": confidence})


def _merged(words: Sequence[Word], start: int, end: int, text: str) -> Word:
    joined = "".join(word.word for word in words)
    return Word(
        start=words[0].start,
        end=max(word.end for word in words),
        word=f"{joined[:start]}{text}{joined[end:]}",
        probability=min(word.probability for word in words),
    )
