"""The words of `words.toml`, by which redaction finds numbers and addresses."""

import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from natscribe.schemas.redaction import EntityType

_WORDS: Final[dict[str, Any]] = tomllib.loads(  # `Any`: tomllib's
    files("app.engines.text.redaction").joinpath("words.toml").read_text(encoding="utf-8")
)
DIGITS: Final = {
    language: {word: str(digit) for digit, words in enumerate(line.split()) for word in words.split("/")}
    for language, line in _WORDS["digits"].items()
}
CORRECTIONS: Final = frozenset(_WORDS["between"]["corrections"].split())
FILLERS: Final = CORRECTIONS | frozenset(_WORDS["between"]["others"].split())
NO_LOCAL: Final = frozenset(_WORDS["not_values"]["local"].split())
NO_SECRET: Final = frozenset(_WORDS["not_values"]["secret"].split())
PERSON_CUES: Final[dict[str, str]] = {place: "|".join(words) for place, words in _WORDS["person_cues"].items()}
STREETS: Final = {language: "|".join(words.split()) for language, words in _WORDS["streets"].items()}


@dataclass(frozen=True, slots=True)
class Context:
    """Words that say what a number near them is, and how many digits it has at least and at most."""

    type: EntityType
    words: re.Pattern[str]
    digits: int
    most: int


CONTEXTS: Final = tuple(
    Context(
        EntityType(context["type"]),
        re.compile(rf"(?<!\w)(?:{'|'.join(context['words'])})", re.IGNORECASE),
        context["digits"],
        context.get("most", 40),  # of a number that was repeated
    )
    for context in _WORDS["context"]
)
