"""The words of `words.toml`, by which redaction finds numbers and addresses."""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from natscribe.schemas.redaction import EntityType

_WORDS: Final[dict[str, Any]] = tomllib.loads(  # `Any`: tomllib's
    files("app.engines.text.redaction").joinpath("words.toml").read_text(encoding="utf-8")
)
MULTIPLIERS: Final = {"hundred": -100, "thousand": -1000, "тысяча": -1000, "тысячи": -1000, "тысяч": -1000}  # negative
REPEATS: Final = {"double": 2, "triple": 3}  # `double four` is 44
CORRECTIONS: Final = frozenset(_WORDS["between"]["corrections"].split())
FILLERS: Final = CORRECTIONS | frozenset(_WORDS["between"]["others"].split())
NO_LOCAL: Final = frozenset(_WORDS["not_values"]["local"].split())
NO_SECRET: Final = frozenset(_WORDS["not_values"]["secret"].split())
STREETS: Final = {language: "|".join(words.split()) for language, words in _WORDS["streets"].items()}


@dataclass(frozen=True, slots=True)
class Context:
    """Words that say what a number near them is, and how many digits it has at least."""

    type: EntityType
    words: re.Pattern[str]
    digits: int


CONTEXTS: Final = tuple(
    Context(
        EntityType(context["type"]),
        re.compile(rf"(?<!\w)(?:{'|'.join(context['words'])})", re.IGNORECASE),
        context["digits"],
    )
    for context in _WORDS["context"]
)


@cache
def values(language: str | None) -> Mapping[str, int]:
    """Return the value of each number word of a language; None: of English and Russian, whose words differ."""
    found: dict[str, int] = {}
    for code in [language] if language in _WORDS["digits"] else ["en", "ru"]:
        found |= _numbered(_WORDS["digits"][code], range(10))
        found |= _numbered(_WORDS["teens"].get(code, ""), range(10, 20))
        found |= _numbered(_WORDS["tens"].get(code, ""), range(20, 100, 10))
        found |= _numbered(_WORDS["hundreds"].get(code, ""), range(100, 1000, 100))
    return found


def _numbered(words: str, numbers: Iterable[int]) -> dict[str, int]:
    return {word: number for words, number in zip(words.split(), numbers, strict=False) for word in words.split("/")}
