"""Group the words of a transcript into segments: sentences, or clauses of long sentences."""

from collections.abc import Iterable, Iterator, Sequence

from natscribe.schemas.transcription import Word

_PAUSE_S = 0.8  # a silence this long ends a segment
SENTENCE_ENDS = (".", "?", "!", "…", "。", "！", "？", "؟", "।")  # noqa: RUF001 -- other scripts have their own marks
_CLAUSE_ENDS = (",", ";", ":", "、", "，", "；")  # noqa: RUF001 -- as above
_CLOSING = "\"'”’»)]」"  # noqa: RUF001 -- quotes and brackets that may follow the mark
_MIN_SENTENCE_S = 1.5  # an earlier full stop may belong to an abbreviation
_LONG_CLAUSE_S = 8.0  # a comma ends a segment that is this long
_MAX_SEGMENT_S = 14.0  # a segment ends before a word that would make the segment longer


def text_of(words: Iterable[Word]) -> str:
    """Join words into a text; a word starts with its own space in a language with spaces between words."""
    return "".join(word.word for word in words).strip()


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Group words into segments, and yield the words of each segment.

    A segment ends at the end of a sentence, before a pause of 0.8 s, at the end of a clause if the segment is 8 s long
    or more, or before a word that would make it longer than 14 s.
    """
    segment: list[Word] = []
    for word in words:
        if segment and _ends(segment, word):
            yield segment
            segment = []
        segment.append(word)
    if segment:
        yield segment


def ends_sentence(word: Word) -> bool:
    """Return whether a word ends with a punctuation mark that ends a sentence."""
    return _mark(word).endswith(SENTENCE_ENDS)


def _mark(word: Word) -> str:
    return word.word.strip().rstrip(_CLOSING)


def _ends(segment: Sequence[Word], following: Word) -> bool:
    last, length = segment[-1], segment[-1].end - segment[0].start
    return (
        following.start - last.end >= _PAUSE_S
        or (ends_sentence(last) and length >= _MIN_SENTENCE_S)
        or (_mark(last).endswith(_CLAUSE_ENDS) and length >= _LONG_CLAUSE_S)
        or following.end - segment[0].start > _MAX_SEGMENT_S
    )
