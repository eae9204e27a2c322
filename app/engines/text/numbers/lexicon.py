"""What the reader of numbers knows about a language: a file of words, such as `english.toml`."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

HUNDRED = 100
MILLION = 1_000_000
_FILES = {"en": "english.toml", "ru": "russian.toml"}


@dataclass(frozen=True, slots=True)
class Numeral:
    """A word of a number.

    `multiplies`: it multiplies what stands before it, as "thousand" does. `ordinal`: it makes the number an ordinal.
    """

    value: int
    multiplies: bool = False
    ordinal: bool = False


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _by_word(table: Mapping[str, str]) -> dict[str, int]:
    return {word: int(number) for number, words in table.items() for word in words.split()}


_Words = Annotated[frozenset[str], BeforeValidator(_words)]
_Table = Annotated[Mapping[str, int], BeforeValidator(_by_word)]


class Lexicon(BaseModel):
    """The words of a language, in small letters, that make a number or tell what it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cardinals: _Table = {}
    multipliers: _Table = {}
    ordinals: _Table = {}
    irregular_ordinals: _Table = {}
    multiplying_ordinals: _Table = {}
    ordinal_endings: str = ""  # of all ordinals but the irregular ones
    bare_multiplier: bool = False  # "thousand" may begin a number
    conjunction: str = ""  # may follow a hundred
    articles: _Words = frozenset()  # mean one before a hundred
    repeats: _Table = {}  # how often "double" says a digit
    zeros: _Words = frozenset()  # mean zero next to other digits
    point: _Words = frozenset()  # between the parts of a decimal
    after_point: _Words = frozenset()  # may follow it
    decimal_mark: str = ""
    places: _Table = {}  # how many places the second part of a decimal has
    units: _Words = frozenset()  # such as money: a number before them is one, be it ever so small
    quantities: _Words = frozenset()  # two numbers before them are an estimate
    before_time: _Words = frozenset()  # prepositions
    minutes_to: _Words = frozenset()  # "без", before minutes and the hour
    months: _Words = frozenset()
    of: str = ""  # between the day and the month
    years: _Words = frozenset()  # "year", after an ordinal
    alternatives: _Words = frozenset()  # "or"
    ambiguous: _Words = frozenset()  # mean something else when they stand alone
    fractions: _Words = frozenset()  # after a number they make a fraction
    part_before: _Words = frozenset()  # before a number they make it a part of another one

    @cached_property
    def numerals(self) -> Mapping[str, Numeral]:
        """All words that numbers consist of."""
        endings = self.ordinal_endings.split() or [""]
        return {
            **{word: Numeral(value) for word, value in self.cardinals.items()},
            **{word: Numeral(value, multiplies=True) for word, value in self.multipliers.items()},
            **{word: Numeral(value, ordinal=True) for word, value in self.irregular_ordinals.items()},
            **{
                f"{stem}{ending}": Numeral(value, multiplies=stem in self.multiplying_ordinals, ordinal=True)
                for stem, value in {**self.ordinals, **self.multiplying_ordinals}.items()
                for ending in endings
            },
        }


@cache
def lexicon(language: str | None) -> Lexicon:
    """Return the words of a language, ISO 639-1; no words: numbers in words are not read in this language."""
    if language not in _FILES:
        return Lexicon()
    return Lexicon.model_validate(tomllib.loads(files(__package__).joinpath(_FILES[language]).read_text("utf-8")))
