"""Splits the text of a transcript into units with times, mostly words: subtitles break lines only between units."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from natscribe.schemas.transcription import Segment, Word
from natscribe.subtitles.break_costs import OPENING

_NEVER_FIRST = "ーっゃゅょぁぃぅぇぉッャュョァィゥェォ々ゝゞヽヾ"  # a Japanese line never begins with one of these
_WIDE_BLOCKS = (("\u3040", "\u30ff"), ("\u3400", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003ffff"))
_FIRST_VOWELS = "เแโใไເແໂໃໄ"  # vowels of Thai and Lao that are written before their consonant
_FIRST_WIDE = "\u1100"  # no character before this one fills two columns
_KATAKANA = ("\u30a0", "\u30ff")  # first and last character


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of text that no line break divides; times in seconds.

    It is a word, or a part of one if the word is longer than a line, or if its script writes no spaces.
    """

    text: str
    start: float
    end: float
    spaced: bool  # whether a blank stands before the unit
    whole: bool = True  # False: the unit continues a word that was too long for a line


def width(text: str) -> int:
    """Return the number of columns that a text fills; each Chinese, Japanese or Korean character fills two."""
    if max(text, default="") < _FIRST_WIDE:
        return len(text)
    return len(text) + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def timed_words(segment: Segment) -> list[Word]:
    """Return the non-blank words of a segment; an empty list if the words, joined, differ from the segment's text."""
    words = [word for word in segment.words or () if word.word.strip()]
    spelt = "".join("".join(word.word.split()) for word in words)
    return words if spelt == "".join(segment.text.split()) else []


def units(segment: Segment, longest: int) -> Iterator[Unit]:
    """Split a segment's text into units, which no line break divides: words, or parts of at most `longest` columns.

    Units have the times of the segment's words; if these are missing or differ from the text, the characters are spread
    evenly over the segment's interval.
    """
    clock = _Clock(segment)
    index = 0
    for token in _tokens(segment.text, longest):
        spaced = True
        for part in _parts(token):
            whole = True
            for text in _cut(part, longest):
                first, index = index, index + _length(text)
                start, end = clock.times(text, first)
                yield Unit(text, start, end, spaced, whole)
                spaced = whole = False


def _tokens(text: str, longest: int) -> Iterator[str]:
    """Split text at blanks, except between a word and a punctuation mark that stands alone between two blanks.

    `«` stays with the next word, `—` with the previous one. Where a word and its mark together have more than `longest`
    columns, the mark is a token of its own.
    """
    token, waits = "", False
    for word in text.split():
        is_mark = not any(character.isalnum() for character in word)
        joins = waits or (is_mark and word[0] not in OPENING)
        if token and joins and width(token) + 1 + width(word) <= longest:
            token, waits = f"{token} {word}", waits and is_mark
            continue
        if token:
            yield token
        token, waits = word, is_mark
    if token:
        yield token


def _parts(token: str) -> Iterator[str]:
    """Split a token where a line may end inside it: between most Chinese and Japanese characters, else nowhere."""
    if max(token) < _FIRST_WIDE:
        yield token
        return
    first = 0
    for index, (before, after) in enumerate(pairwise(token), start=1):
        if _divisible(before, after):
            yield token[first:index]
            first = index
    yield token[first:]


def _divisible(before: str, after: str) -> bool:
    if not (_unspaced(before) or _unspaced(after)) or after in _NEVER_FIRST or before in OPENING:
        return False
    if _KATAKANA[0] <= before <= _KATAKANA[1] and _KATAKANA[0] <= after <= _KATAKANA[1]:
        return False  # a word in katakana is not divided
    return after.isalnum() or after in OPENING


def _unspaced(character: str) -> bool:
    return character.isalpha() and any(first <= character <= last for first, last in _WIDE_BLOCKS)


def _cut(part: str, longest: int) -> Iterator[str]:
    """Split text into pieces of at most `longest` columns, if possible not between a letter and its combining marks."""
    while len(part) > longest or width(part) > longest:
        most = longest
        while width(part[:most]) > longest:
            most -= 1
        end = next((index for index in range(most, 0, -1) if not _belong_together(*part[index - 1 : index + 1])), most)
        yield part[:end]
        part = part[end:]
    yield part


def _belong_together(before: str, after: str) -> bool:
    return before in _FIRST_VOWELS or unicodedata.category(after).startswith("M")


def _length(text: str) -> int:
    return len("".join(text.split()))


class _Clock:
    """Computes when parts of a segment's text are spoken.

    A position in the text is the number of characters before it, without blanks.
    """

    def __init__(self, segment: Segment) -> None:
        if words := timed_words(segment):
            self._times = [(word.start, word.end) for word in words]
            lengths = [_length(word.word) for word in words]
        else:
            self._times = [(segment.start, segment.end)]
            lengths = [max(_length(segment.text), 1)]
        self._firsts = [0, *accumulate(lengths)]

    def times(self, text: str, first: int) -> tuple[float, float]:
        """Return when `text` starts and ends, in seconds; `first`: the position of its first character in the segment.

        Words without letters or digits, such as dashes, are ignored at both ends of `text`: if such a word is next to a
        pause, a model may place it at the wrong end of the pause.
        """
        audible = [index for index, character in enumerate("".join(text.split()), first) if character.isalnum()]
        stop = first + _length(text)
        begin, end = (self._word_at(index) for index in (audible[0], audible[-1])) if audible else (0, len(self._times))
        begin, end = max(begin, self._word_at(first)), min(end, self._word_at(stop - 1))
        return self._at(begin, max(first, self._firsts[begin])), self._at(end, min(stop, self._firsts[end + 1]))

    def _word_at(self, index: int) -> int:
        return bisect_right(self._firsts, index) - 1

    def _at(self, word: int, index: int) -> float:
        start, end = self._times[word]
        first, stop = self._firsts[word : word + 2]
        return start + (end - start) * (index - first) / (stop - first)
