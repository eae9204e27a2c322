"""Find runs of digits in a text, written or spoken, whatever separates them.

Recognizers write digits that are said one by one with commas, hyphens or spaces, or as words. People say a number in
parts, over several turns, and correct themselves. So a run goes on over separators and over words such as "okay", "uh"
and "no, sorry".
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final

from app.engines.text.numbers.reading import Kind, Tokens, read
from app.engines.text.redaction.lexicon import CORRECTIONS, DIGITS, FILLERS

TOKEN: Final = re.compile(r"\d+|[^\W\d_]+(?:['’][^\W\d_]+)*")
_WRITTEN: Final = re.compile(r"\d+")
_LABEL: Final = re.compile(r"(?:^|\n|(?<=[.!?,]\s))[^\n:.!?]{0,40}:")  # a turn starts with the name of its speaker
_TURN: Final = re.compile(r"[\n:]")
_MAX_SEPARATOR: Final = 6  # characters between two digits of a run
_MAX_FILLERS: Final = 8  # words between two parts of a number
_SPELLED: Final = 7  # pieces
_MAX_BETWEEN: Final = 160  # characters between two parts
_WHOLE: Final = 9  # digits: two parts of this length are two numbers, unless the second one is a correction
_MISHEARD: Final = re.compile(
    r"[,.;!-]+\s(?:\w+[,.;!-]+\s){1,2}"
)  # words in the place of digits that are said one by one
_LONG: Final = 7  # digits that are written as one, after which a comma starts another number


@dataclass(frozen=True, slots=True)
class Piece:
    """Digits that are written or spoken as one, and where they are in the text."""

    start: int
    end: int
    digits: str


@dataclass(frozen=True, slots=True)
class Run:
    """The pieces of one number."""

    pieces: tuple[Piece, ...]

    @property
    def start(self) -> int:
        """Where the run starts in the text."""
        return self.pieces[0].start

    @property
    def end(self) -> int:
        """Where it ends, exclusive."""
        return self.pieces[-1].end

    @property
    def digits(self) -> str:
        """All digits."""
        return "".join(piece.digits for piece in self.pieces)

    @property
    def is_spelled(self) -> bool:
        """Whether many digits are said one by one, as nobody says an amount."""
        return sum(len(piece.digits) == 1 for piece in self.pieces) >= _SPELLED

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of digits of each piece."""
        return tuple(len(piece.digits) for piece in self.pieces)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where the run is: a span for each turn of a conversation."""
        spans = [(self.start, self.pieces[0].end)]
        for before, piece in pairwise(self.pieces):
            if _TURN.search(text, before.end, piece.start):
                spans.append((piece.start, piece.end))
            else:
                spans[-1] = spans[-1][0], piece.end
        return spans


def digit_runs(text: str, language: str | None) -> list[Run]:
    """Return the runs of digits in a text, in order."""
    joined: list[list[Piece]] = []
    for pieces in _close_pieces(text, _pieces(text, language)):
        if joined and _continues(text, joined[-1], pieces):
            joined[-1] += pieces
        else:
            joined.append(pieces)
    return [Run(tuple(pieces)) for pieces in joined]


def _pieces(text: str, language: str | None) -> list[Piece]:
    """Return the numbers of a text in order: those in words by their value, and digits as they are."""
    found: dict[int, Piece] = {}  # by each character of a number in words, so that none is found twice
    languages = [language] if language and language in DIGITS else ["en", "ru"]
    for piece in chain.from_iterable(_spoken(text, code) for code in languages):
        if piece.start not in found:
            found |= dict.fromkeys(range(piece.start, piece.end), piece)
    written = (Piece(*match.span(), match.group()) for match in _WRITTEN.finditer(text) if match.start() not in found)
    return sorted({*found.values(), *written}, key=lambda piece: piece.start)


def _spoken(text: str, language: str) -> Iterator[Piece]:
    """Yield the numbers that words of a language are; in other languages than English and Russian, digits alone."""
    for number in read(Tokens(text, language)):
        if number.kind in {Kind.CARDINAL, Kind.REPEATED}:
            yield Piece(number.start, number.end, number.digits)
    for match in TOKEN.finditer(text):
        if digit := DIGITS[language].get(match.group().casefold()):
            yield Piece(*match.span(), digit)


def _close_pieces(text: str, pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Group pieces that nothing but separators is between."""
    group: list[Piece] = []
    for piece in pieces:
        if group and not _is_close(text, group[-1], piece):
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _is_close(text: str, before: Piece, piece: Piece) -> bool:
    between = text[before.end : piece.start]
    if len(between) > _MAX_SEPARATOR or any(map(str.isalnum, between)) or "\n" in between or "@" in between:
        return False
    both_long = min(len(before.digits), len(piece.digits)) >= _LONG
    return not (both_long and between.strip(" "))


def _continues(text: str, before: Sequence[Piece], pieces: Sequence[Piece]) -> bool:
    """Return whether pieces go on with the number of those before them."""
    between = text[before[-1].end : pieces[0].start]
    if len(between) > _MAX_BETWEEN:
        return False
    if len(before[-1].digits) == len(pieces[0].digits) == 1 and _MISHEARD.fullmatch(between):
        return True
    words = TOKEN.findall(_LABEL.sub(" ", between).casefold())
    are_whole = _is_whole(before) and _is_whole(pieces) and CORRECTIONS.isdisjoint(words)
    return len(words) <= _MAX_FILLERS and FILLERS.issuperset(words) and not are_whole


def _is_whole(pieces: Sequence[Piece]) -> bool:
    return len(pieces) >= _WHOLE or sum(len(piece.digits) for piece in pieces) >= _WHOLE
