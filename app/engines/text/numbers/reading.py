"""Read the numbers of a text: numerals of its language, digits, and digits said one by one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from app.engines.text.numbers.lexicon import HUNDRED, MILLION, Numeral, lexicon

_TOKEN = re.compile(  # a date, a time, a decimal or an ordinal is one token
    r"\d+-[а-яё]{1,3}\b|\d+(?:[.:/]\d+)+|\d{1,3}(?:,\d{3})+(?!\d)|(?<!\d,)\d+,\d+(?![\d,])|\w+(?:['’]\w+)*"  # noqa: RUF001 -- apostrophes
)
_DIGITS = re.compile(r"[0-9]+")
_JOINED = re.compile(r"[^\S\n\t]|[-‐‑–]")  # noqa: RUF001 -- hyphens
_TEN, _TWENTY = 10, 20


class Kind(Enum):
    """How a number is said or written."""

    CARDINAL = auto()
    ORDINAL = auto()
    DECIMAL = auto()
    REPEATED = auto()  # "double five"
    WRITTEN = auto()  # in digits already


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a text: characters `start` to `end`, tokens `first` to `last`, and what it is in digits."""

    start: int
    end: int
    first: int
    last: int
    digits: str
    kind: Kind

    @property
    def value(self) -> int:
        """The number, if it is one of a few digits; otherwise -1."""
        return int(self.digits) if self.kind not in {Kind.DECIMAL, Kind.REPEATED} and len(self.digits) < _TWENTY else -1


class Tokens:
    """The words of a text in small letters, and the characters between them."""

    def __init__(self, text: str, language: str | None) -> None:
        self.text = text
        self.lexicon = lexicon(language)
        self._spans = [match.span() for match in _TOKEN.finditer(text)]
        plain = text.translate(str.maketrans("ёЁ’", "еЕ'"))  # noqa: RUF001 -- Russian
        self._words = [plain[start:end].lower() for start, end in self._spans]

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, index: int) -> str:
        return self._words[index] if 0 <= index < len(self) else ""

    def joined(self, index: int) -> bool:
        """Return whether only a space or a hyphen is between a word and the one before it."""
        if not 0 < index < len(self):
            return False
        return _JOINED.fullmatch(self.text, self._spans[index - 1][1], self._spans[index][0]) is not None

    def numeral(self, index: int) -> Numeral | None:
        """Return what a word means; None: it is no numeral."""
        return self.lexicon.numerals.get(self[index])

    def digit(self, index: int) -> str:
        """Return the digit that a word means; empty: none."""
        word, numeral = self[index], self.numeral(index)
        if numeral is not None:
            return str(numeral.value) if numeral.value < _TEN and not numeral.ordinal else ""
        return "0" if word in self.lexicon.zeros else word if len(word) == 1 and _DIGITS.match(word) else ""

    def number(self, first: int, last: int, digits: str, kind: Kind) -> Number:
        """Return a number that consists of some words."""
        return Number(self._spans[first][0], self._spans[last][1], first, last, digits, kind)


def read(tokens: Tokens) -> Iterator[Number]:
    """Yield the numbers of a text in order; what was said digit by digit is not joined yet."""
    index, end = 0, 0
    while index < len(tokens):
        number = _number(tokens, index, is_beside=index == end and tokens.joined(index))
        if number is not None:
            yield number
            end = number.last + 1 if number.kind is not Kind.ORDINAL else 0
        index = number.last + 1 if number is not None else index + 1


def _number(tokens: Tokens, index: int, *, is_beside: bool) -> Number | None:
    """Read the number that starts with a word; None: none does. `is_beside`: it follows a number that is no ordinal."""
    word, is_joined = tokens[index], tokens.joined(index + 1)
    following = tokens.digit(index + 1) if is_joined else ""
    if _DIGITS.fullmatch(word):
        return tokens.number(index, index, word, Kind.WRITTEN)
    if word in tokens.lexicon.zeros:
        return tokens.number(index, index, "0", Kind.CARDINAL) if is_beside or following else None
    if times := tokens.lexicon.repeats.get(word):
        return tokens.number(index, index + 1, following * times, Kind.REPEATED) if following else None
    whole = _cardinal(tokens, index)
    is_decimal = whole is not None and whole.kind is Kind.CARDINAL and tokens[whole.last + 1] in tokens.lexicon.point
    return (whole and is_decimal and _decimal(tokens, whole)) or whole


def _decimal(tokens: Tokens, whole: Number) -> Number | None:
    """Read a decimal with a known whole: "three point one four", "три целых четырнадцать сотых"."""
    last, digits = whole.last + 1, ""
    if tokens.lexicon.places:
        part = _cardinal(tokens, last + 1 + (tokens[last + 1] in tokens.lexicon.after_point))
        places = tokens.lexicon.places.get(tokens[part.last + 1], 0) if part else 0
        if part is not None and len(part.digits) <= places:
            digits, last = part.digits.zfill(places), part.last + 1
    else:
        while tokens.joined(last + 1) and (digit := tokens.digit(last + 1)):
            digits, last = digits + digit, last + 1
    decimal = f"{whole.digits}{tokens.lexicon.decimal_mark}{digits}"
    return tokens.number(whole.first, last, decimal, Kind.DECIMAL) if digits else None


class _Sum:
    """A cardinal or an ordinal that grows word by word."""

    def __init__(self) -> None:
        self._total = 0
        self._group: int | None = None  # what a multiplier that follows multiplies
        self._scale = 1_000_000_000_000  # the next multiplier must be less
        self._room = 10_000  # and the next other numeral

    @property
    def value(self) -> int:
        return self._total + (self._group or 0)

    def accepts(self, numeral: Numeral, *, bare: bool) -> bool:
        """Return whether a numeral may follow; `bare`: a multiplier may begin a number."""
        is_new = self._group is None and self._total == 0
        if not numeral.multiplies:
            return numeral.value < self._room and (numeral.value > 0 or is_new)
        if numeral.value == HUNDRED:
            return 0 < (self._group or 0) < HUNDRED and self.value % _TEN > 0
        return numeral.value < self._scale and (bool(self._group) or (bare and is_new))

    def add(self, numeral: Numeral) -> None:
        if not numeral.multiplies:
            self._group = (self._group or 0) + numeral.value
            self._room = HUNDRED if numeral.value >= HUNDRED else _TEN if numeral.value >= _TWENTY else 0
        elif numeral.value == HUNDRED:
            self._group, self._room = (self._group or 0) * HUNDRED, HUNDRED
        else:
            self._total += (1 if self._group is None else self._group) * numeral.value
            self._group, self._scale, self._room = None, numeral.value, 1000


def _cardinal(tokens: Tokens, first: int) -> Number | None:
    """Read a cardinal or an ordinal. A million at its end is no part of it: "2 million" is easier to read."""
    found, before, numeral = _Sum(), 0, None
    last = first - 1
    if _is_article(tokens, first):
        found.add(Numeral(1))
        last = first
    while (following := _next(tokens, found, first, last)) is not None:
        last, numeral = following
        before = found.value
        found.add(numeral)
        if numeral.ordinal:
            return tokens.number(first, last, str(found.value), Kind.ORDINAL)
    if numeral is None:
        return None
    value = found.value
    if numeral.multiplies and numeral.value >= MILLION > before:
        last, value = last - 1, before
    return tokens.number(first, last, str(value), Kind.CARDINAL) if last >= first else None


def _is_article(tokens: Tokens, index: int) -> bool:
    """Return whether a word is the article of "a hundred" or "a thousand"."""
    following = tokens.numeral(index + 1)
    is_multiplier = following is not None and following.multiplies and not following.ordinal
    return is_multiplier and tokens[index] in tokens.lexicon.articles


def _next(tokens: Tokens, found: _Sum, first: int, last: int) -> tuple[int, Numeral] | None:
    """Return the next word of a number, and what it means; None: the number ends."""
    index = last + 1
    if index > first and not tokens.joined(index):
        return None
    before = tokens.numeral(last) if index > first else None
    if before and before.multiplies and tokens[index] == tokens.lexicon.conjunction and tokens.joined(index + 1):
        index += 1
        after = tokens.numeral(index + 1)
        if tokens[first - 1] == "between" or (after and after.multiplies and after.value <= before.value):
            return None
    numeral = tokens.numeral(index)
    if numeral is None or not found.accepts(numeral, bare=tokens.lexicon.bare_multiplier):
        return None
    is_duration = tokens[index] == "second" and index > first and tokens[first - 1] in tokens.lexicon.articles
    begins_digits = (
        before and before.multiplies and before.value == HUNDRED and tokens.digit(index) and tokens.joined(index + 1)
    )
    return None if is_duration or (begins_digits and tokens.digit(index + 1)) else (index, numeral)
