"""Cut the words of a transcript into segments: sentences, and the clauses of long sentences."""

from collections.abc import Iterable, Iterator, Sequence

from natscribe.schemas.transcription import Word

_PAUSE_S = 0.8  # a silence this long ends a segment
SENTENCE_ENDS = (".", "?", "!", "…", "。", "！", "？", "؟", "।")  # noqa: RUF001 -- other scripts have marks of their own
_CLAUSE_ENDS = (",", ";", ":", "、", "，", "；")  # noqa: RUF001 -- as above
_CLOSING = "\"'”’»)]」"  # noqa: RUF001 -- quotes and brackets that may follow the mark
_SHORTEST_S = 1.5  # a full stop earlier in a sentence may belong to an abbreviation
_LONG_S = 8.0  # a comma ends a segment that is this long
_LONGEST_S = 14.0  # a segment ends before a word that would make the segment longer


def text_of(words: Iterable[Word]) -> str:
    """Join words to text; each word begins with its own space if the language has spaces."""
    return "".join(word.word for word in words).strip()


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Yield the words of each segment: it ends with a sentence, before a pause, or after a clause of a long sentence.

    A segment that would grow longer than 14 s ends before the next word.
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
    """Whether a word ends with the mark of a sentence's end."""
    return _mark(word).endswith(SENTENCE_ENDS)


def _mark(word: Word) -> str:
    return word.word.strip().rstrip(_CLOSING)


def _ends(segment: Sequence[Word], following: Word) -> bool:
    last, length = segment[-1], segment[-1].end - segment[0].start
    return (
        following.start - last.end >= _PAUSE_S
        or (ends_sentence(last) and length >= _SHORTEST_S)
        or (_mark(last).endswith(_CLAUSE_ENDS) and length >= _LONG_S)
        or following.end - segment[0].start > _LONGEST_S
    )
