"""Dates with a day and a month, and dates of birth: the words before them say which it is."""

import re
from collections.abc import Iterator
from typing import Final

from natscribe.schemas.redaction import EntityType

from app.engines.text.numbers.lexicon import lexicon
from app.engines.text.redaction.digit_runs import TOKEN
from app.engines.text.redaction.found import Found

_NUMERIC: Final = re.compile(
    r"(?<![\d./-])(?:\d{1,2}([./-])\d{1,2}\1(?:\d{4}|\d\d)|\d{4}([./-])\d{1,2}\2\d{1,2})(?![\d/-]|\.\d)"
)
_MONTH: Final = re.compile(
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december|"
    r"январ[ьея]|феврал[ьея]|март[ае]?|апрел[ьея]|ма[йея]|июн[ьея]|июл[ьея]|август[ае]?|сентябр[ьея]|октябр[ьея]|"
    r"ноябр[ьея]|декабр[ьея]|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec|янв|февр?|апр|июн|июл|авг|сент?|окт|нояб?|дек)"
)
_BIRTH: Final = re.compile(
    r"(?<!\w)(?:born|birth\w*|d\.?\s?o\.?\s?b\b|родил\w*|рожден\w*|г\.?\s?р\b|дата рожд\w*)", re.IGNORECASE
)
_NUMERALS: Final = {word for language in ("en", "ru") for word in lexicon(language).numerals}
_BETWEEN: Final = frozenset({"the", "of", "st", "nd", "rd", "th"})  # words of a date before its month
_AFTER: Final = frozenset({"thousand", "st", "nd", "rd", "th", "года", "год", "г"})  # and after it
_YEAR_DIGITS: Final = 4
_REACH: Final = 4  # tokens of a day before a month; 6 after it, for a year
_BEFORE: Final = 60  # characters in which a word about birth may stand
_MAX_GAP: Final = 3  # characters between two words of a date


def dates(text: str) -> Iterator[Found]:
    """Yield the dates of a text; a date of birth is a date as well."""
    spans = [match.span() for match in _NUMERIC.finditer(text)] + list(_with_months(text))
    for start, end in spans:
        around = text[max(start - _BEFORE, 0) : start], text[end : end + _BEFORE // 3].partition("\n")[0]
        value = " ".join(TOKEN.findall(text[start:end].casefold()))
        if any(map(_BIRTH.search, around)):
            yield Found(EntityType.DATE_OF_BIRTH, ((start, end),), 0.9, value)
        yield Found(EntityType.DATE, ((start, end),), 0.85, value)


def _with_months(text: str) -> Iterator[tuple[int, int]]:
    """Yield where dates are that name the month."""
    tokens = list(TOKEN.finditer(text))
    words = [token.group().casefold().replace("ё", "е") for token in tokens]

    def is_number(word: str) -> bool:
        is_written = word.isdecimal() and len(word) <= _YEAR_DIGITS
        return is_written or word in _NUMERALS

    def goes_on(left: int, at: int, other: frozenset[str]) -> bool:
        is_close = tokens[left + 1].start() - tokens[left].end() <= _MAX_GAP
        return is_close and (words[at] in other or is_number(words[at]))

    for at in (at for at, word in enumerate(words) if _MONTH.fullmatch(word)):
        first = last = at
        while first > max(at - _REACH, 0) and goes_on(first - 1, first - 1, _BETWEEN):
            first -= 1
        while last < min(at + _REACH + 2, len(words) - 1) and goes_on(last, last + 1, _AFTER):
            last += 1
        if any(map(is_number, words[first : last + 1])):
            yield tokens[first].start(), tokens[last].end()
