"""Sentences: words are joined to sentences that can be read, or to parts of long ones."""

from collections.abc import Iterable, Iterator, Sequence

from schemas.transcription import Word

_PAUSE_S = 0.8  # of silence ends a segment
SENTENCE_ENDS = (".", "?", "!", "…", "。", "！", "？", "؟", "।")  # noqa: RUF001 -- other scripts have marks of their own
_CLAUSE_ENDS = (",", ";", ":", "、", "，", "；")  # noqa: RUF001 -- as above
_CLOSING = "\"'”’»)]」"  # noqa: RUF001 -- what may follow the mark
_SHORTEST_S = 1.5  # a full stop before that may belong to an abbreviation
_LONG_S = 8.0  # from then on a comma ends a segment
_LONGEST_S = 14.0


def text_of(words: Iterable[Word]) -> str:
    """Join words to text; each word has its own leading space, where the language has one."""
    return "".join(word.word for word in words).strip()


def sentences(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Cut words at sentence ends and pauses, and long sentences at clauses."""
    part: list[Word] = []
    for word in words:
        if part and _ends(part, word):
            yield part
            part = []
        part.append(word)
    if part:
        yield part


def _ends(part: Sequence[Word], following: Word) -> bool:
    last, length = part[-1], part[-1].end - part[0].start
    mark = last.word.strip().rstrip(_CLOSING)
    return (
        following.start - last.end >= _PAUSE_S
        or (mark.endswith(SENTENCE_ENDS) and length >= _SHORTEST_S)
        or (mark.endswith(_CLAUSE_ENDS) and length >= _LONG_S)
        or following.end - part[0].start > _LONGEST_S
    )
