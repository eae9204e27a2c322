"""Write the numbers of a text in digits, but for those that may mean something else.

- A number in words becomes digits: "450", "2 million", "21st". "One" and ordinals below ten remain words, because they
  often count nothing, unless a unit or a month tells that they do: "1 dollar", "May 3rd".
- Digits said or written one by one become one number: three or more, or four with commas. Those that count ("one, two,
  three") remain. Years and times said in two parts become "1945" and "15:30".
- Other numbers side by side, such as "ten fifteen minutes", remain words.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from app.engines.text.numbers.lexicon import HUNDRED
from app.engines.text.numbers.reading import Kind, Number, Tokens, read
from app.engines.text.replacing import Replacement

_COMMA = re.compile(r"\s?,\s?")
_JOINED = re.compile(r"[^\S\n\t]|[-‐‑–]|\s?[()][-\s]?")  # noqa: RUF001 -- hyphens
_HALF_DAY = re.compile(r"\s?[ap]\.?\s?m\b", re.IGNORECASE)
_CAPITALIZED = re.compile(r"\b[A-Z]\w+\s$")
_DATES = {
    (4, 2, 2),
    (4, 1, 1),
    (4, 1, 2),
    (4, 2, 1),
    (2, 2, 4),
    (1, 1, 4),
    (1, 2, 4),
    (2, 1, 4),
}  # how long their parts are
_PAIRS = {(2, 2), (3, 3)}
_TELEPHONES = {(1, 3, 3, 2, 2), (3, 3, 2, 2)}
_MIN_RUN, _MIN_RUN_WITH_COMMAS, _MIN_TELEPHONE = 3, 4, 7  # numbers; numbers; digits
_CENTURIES, _HOURS, _HOURS_OF_HALF_DAY, _DAYS = range(13, 21), range(24), range(13), range(1, 32)
_TEN, _FIRST_LONG_YEAR, _PAIR = 10, 1000, 2
_BEFORE_ONE_LETTER = "аеиоуыэюяь"  # noqa: RUF003 -- "21-й", but "21-го"


def in_digits(text: str, language: str | None) -> list[Replacement]:
    """Return what becomes digits in a text, in order. `language`: ISO 639-1; numbers in words: English and Russian."""
    writer = _Writer(Tokens(text, language))
    replacements = (replacement for run in writer.runs() for replacement in writer.write(run))
    return [item for item in replacements if text[item.start : item.end] != item.text]


class _Writer:
    """Writes the numbers of one text; in a run, nothing but spaces, hyphens and commas is between numbers.

    A run is a list of parts, between the commas.
    """

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._lexicon = tokens.lexicon

    def runs(self) -> Iterator[list[list[Number]]]:
        """Yield all numbers, as runs."""
        parts = list[list[Number]]()
        for number in read(self._tokens):
            is_open = bool(parts) and parts[-1][-1].kind is not Kind.ORDINAL
            gap = self._tokens.text[parts[-1][-1].end : number.start] if is_open else ""
            if is_open and _JOINED.fullmatch(gap):
                parts[-1].append(number)
            elif is_open and _COMMA.fullmatch(gap):
                parts.append([number])
            else:
                yield parts
                parts = [[number]]
        yield parts

    def write(self, parts: Sequence[Sequence[Number]]) -> Iterator[Replacement]:
        """Yield the replacements of a run."""
        numbers = [number for part in parts for number in part]
        if len(parts) > 1 and not _counts(numbers) and self._are_one_with_commas(parts):
            yield self._joined(numbers)
        elif not _counts(numbers):
            for piece in (piece for part in parts for piece in self._pieces(part)):
                yield from self._piece(piece)

    def _pieces(self, part: Sequence[Number]) -> Iterator[list[Number]]:
        """Split numbers without commas between them: after ordinals, and after the day of a month."""
        piece = list[Number]()
        for number in part:
            is_day = number is part[0] and number.value in _DAYS and self._is_after_month(number)
            if (
                number.kind is Kind.ORDINAL and piece and number.value < 2 * _TEN
            ):  # "one third", "a thirty second break"
                piece = piece if self._tokens[number.last] == "second" else []
            elif is_day or number.kind in {Kind.ORDINAL, Kind.DECIMAL}:
                yield piece
                yield [number]
                piece = []
            else:
                piece.append(number)
        yield piece

    def _piece(self, piece: Sequence[Number]) -> Iterator[Replacement]:
        """Yield the replacement of one number, or of numbers that may be one."""
        if len(piece) == 1 and self._is_certain(piece[0]):
            number = piece[0]
            digits = self._ordinal(number) if number.kind is Kind.ORDINAL else number.digits
            yield Replacement(number.start, number.end, digits)
        elif len(piece) > 1 and (time := self._time(piece)):
            yield Replacement(piece[0].start, piece[-1].end, time)
        elif len(piece) > 1 and self._is_one(piece):
            yield self._joined(piece)

    def _joined(self, numbers: Sequence[Number]) -> Replacement:
        """Return the replacement of numbers that are one."""
        text, start, end = self._tokens.text, numbers[0].start, numbers[-1].end
        is_open = text.count(")", start, end) > text.count("(", start, end) and text[start - 1 : start] == "("
        return Replacement(start - is_open, end, "".join(number.digits for number in numbers))

    def _are_one_with_commas(self, parts: Sequence[Sequence[Number]]) -> bool:
        """Return whether numbers with commas between them are one number, such as that of a card."""
        numbers = [number for part in parts for number in part]
        if not _are_groups(numbers) or len(numbers) < _MIN_RUN_WITH_COMMAS:
            return False
        single = sum(len(number.digits) == 1 for number in numbers)
        in_groups = all(len(part) > 1 and self._is_one(part) and not self._is_year(part) for part in parts)
        lengths = tuple(len(number.digits) for number in numbers)
        is_digits = 5 * single >= 4 * len(numbers) and not _is_list(numbers)
        return is_digits or in_groups or lengths in _TELEPHONES

    def _is_one(self, piece: Sequence[Number]) -> bool:
        """Return whether numbers side by side are one number: digits one by one or in groups, or a year."""
        if not _are_groups(piece) or _counts(piece) or self._before(piece[0]) in self._lexicon.minutes_to:
            return False
        lengths = tuple(len(number.digits) for number in piece)
        if all(number.kind is Kind.WRITTEN for number in piece):
            is_telephone = sum(lengths) >= _MIN_TELEPHONE or 2 * lengths.count(1) >= len(piece)
            return len(piece) >= _MIN_RUN and is_telephone and lengths not in _DATES
        if len(piece) >= _MIN_RUN or any(number.kind is Kind.REPEATED for number in piece):
            return True
        is_counted = self._after(piece[-1]) in self._lexicon.quantities
        return lengths in _PAIRS and not is_counted and (self._is_year(piece) or not _is_estimate(piece))

    def _is_year(self, piece: Sequence[Number]) -> bool:
        """Return whether numbers are a year that is said in parts: "nineteen forty-five", "nineteen oh five"."""
        rest = "".join(number.digits for number in piece[1:])
        return bool(self._lexicon.conjunction) and piece[0].value in _CENTURIES and len(rest) == _PAIR

    def _time(self, piece: Sequence[Number]) -> str | None:
        """Return the time that numbers mean, such as "three thirty"; None: none."""
        hour, minutes = piece[0].value, "".join(number.digits for number in piece[1:])
        is_spoken = all(number.kind is Kind.CARDINAL for number in piece)
        if not (is_spoken and len(minutes) == _PAIR and minutes < "60" and (len(piece) > _PAIR) == (minutes[0] == "0")):
            return None
        is_half_day = self._is_half_day(piece[-1])
        is_clock = self._before(piece[0]) in self._lexicon.before_time
        is_hour = hour in (_HOURS if self._lexicon.places else _HOURS_OF_HALF_DAY)
        is_time = is_half_day or (is_clock and self._after(piece[-1]) not in self._lexicon.quantities)
        return f"{hour}:{minutes}" if is_hour and is_time else None

    def _is_certain(self, number: Number) -> bool:
        """Return whether a number that stands alone certainly is one."""
        before, after, lexicon = self._before(number), self._after(number), self._lexicon
        if number.kind is not Kind.CARDINAL:
            is_high = number.value >= _TEN and before not in lexicon.articles  # "a tenth" is a fraction
            return number.kind is not Kind.ORDINAL or is_high or self._is_date(number)
        if before in lexicon.part_before or after in lexicon.fractions:
            return False
        if self._is_bare(number):
            return (after if after not in lexicon.multipliers else self._tokens[number.last + 2]) in lexicon.units
        has_unit = after in lexicon.units or self._is_half_day(number) or self._is_after_month(number)
        is_ambiguous = number.first == number.last and self._tokens[number.last] in lexicon.ambiguous
        is_alternative = before in lexicon.alternatives and lexicon.cardinals.get(self._tokens[number.first - 2]) == 1
        if number.value == 1 or is_ambiguous:
            return has_unit or (is_ambiguous and before in lexicon.before_time)
        return number.value >= _TEN or not (is_alternative or self._is_in_compound(number))

    def _is_bare(self, number: Number) -> bool:
        """Return whether a number is but a multiplier: "a hundred", "тысяча"."""
        has_article = self._tokens[number.first] in self._lexicon.articles
        is_multiplier = self._tokens[number.first] in self._lexicon.multipliers
        return (has_article and number.last - number.first <= 1) or (is_multiplier and number.first == number.last)

    def _is_in_compound(self, number: Number) -> bool:
        """Return whether a hyphen joins a number to another word, as in "two-faced"."""
        text = self._tokens.text
        return text[number.end : number.end + 1] == "-" or text[: number.start].endswith("-")

    def _ordinal(self, number: Number) -> str:
        """Write an ordinal with the last letters of its word: "21st", "21-й"; but a Russian year or day without."""
        word, after, lexicon = self._tokens[number.last], self._after(number), self._lexicon
        is_long_year = after in lexicon.years and number.value >= _FIRST_LONG_YEAR
        if is_long_year or (after in lexicon.months and not lexicon.of):
            return number.digits
        hyphen = "" if lexicon.of else "-"
        return f"{number.digits}{hyphen}{word[-1:] if word[-2] in _BEFORE_ONE_LETTER else word[-2:]}"

    def _is_date(self, number: Number) -> bool:
        """Return whether an ordinal is the day of a month."""
        has_of = not self._lexicon.of or self._after(number) == self._lexicon.of
        month = self._tokens[number.last + 1 + bool(self._lexicon.of)]
        return number.value in _DAYS and ((has_of and month in self._lexicon.months) or self._is_after_month(number))

    def _is_after_month(self, number: Number) -> bool:
        """Return whether a month stands before a number, as in "May third"; "may" is none."""
        if not self._lexicon.of or self._before(number) not in self._lexicon.months:
            return False
        return _CAPITALIZED.search(self._tokens.text[: number.start]) is not None

    def _is_half_day(self, number: Number) -> bool:
        return _HALF_DAY.match(self._tokens.text, number.end) is not None

    def _before(self, number: Number) -> str:
        return self._tokens[number.first - 1]

    def _after(self, number: Number) -> str:
        return self._tokens[number.last + 1]


def _are_groups(numbers: Sequence[Number]) -> bool:
    """Return whether all numbers may be groups of the digits of one number."""
    are_digits = all(number.kind not in {Kind.ORDINAL, Kind.DECIMAL} for number in numbers)
    return are_digits and all(number.kind is Kind.WRITTEN or number.value < 10 * HUNDRED for number in numbers)


def _is_estimate(piece: Sequence[Number]) -> bool:
    """Return whether two numbers are an estimate, such as "ten fifteen"."""
    first, second = (number.value for number in piece)
    return (first % 5 == 0 and second % 5 == 0) or second - first in {1, 2}


def _counts(numbers: Sequence[Number]) -> bool:
    """Return whether digits go up or down by the same step, as in "one, two, three"."""
    steps = {after.value - before.value for before, after in pairwise(numbers)}
    is_even = len(steps) == 1 and all(0 <= number.value < _TEN for number in numbers)
    return is_even and (steps <= {1, -1} or (len(numbers) > _PAIR and steps != {0}))


def _is_list(numbers: Sequence[Number]) -> bool:
    """Return whether numbers only rise or only fall, as in "sections 1, 2, 5, 6"."""
    pairs = list(pairwise(numbers))
    return all(before.value < after.value for before, after in pairs) or all(
        before.value > after.value for before, after in pairs
    )
