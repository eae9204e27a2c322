"""Converts a language as people write it, such as `EN`, `en-US`, `English` or `русский`, into its code."""

import re
import unicodedata
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Final

from natscribe.client.errors import OptionError

OTHER_CODES: Final = {"nb": "no", "jv": "jw", "fil": "tl", "iw": "he", "in": "id"}  # codes that Whisper does not know
_CODE = re.compile(r"([A-Za-z]{2,3})([-_.@].*)?")  # with the rest of a locale: en-US, pt_BR, zh-Hans
_MIN_SIMILARITY = 0.7  # of a suggested name
_MAX_SUGGESTIONS = 3


def language_code(written: object) -> str:
    """Return the ISO 639 code of a language, as Whisper spells it.

    `written`: the code, a locale such as `en-US`, or the name of the language, in upper or lower case. Any code of two
    or three letters is accepted, because other models may support languages that Whisper does not.

    Raises:
        OptionError: `written` is neither a code nor a locale, and no language of Whisper has this name.
    """
    text = written if isinstance(written, str) else ""
    if (code := _codes().get(_plain(text))) is not None:
        return code
    match = _CODE.fullmatch(text.strip())
    if match is None:
        raise OptionError(_suggestions(text))
    code = match[1].lower()
    return OTHER_CODES.get(code, code)


def _codes() -> dict[str, str]:
    """Return a mapping from the names of Whisper's languages, in lower case and without accents, to their codes."""
    return {_plain(name): code for code, names in _names().items() for name in names}


@cache
def _names() -> dict[str, list[str]]:
    """Return the names of Whisper's languages by code: each name in English, then in the language itself."""
    lines = files("natscribe.client").joinpath("languages.txt").read_text(encoding="utf-8").splitlines()
    return {code: names.split(", ") for code, names in (line.split(" ", 1) for line in lines)}


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFKD", name.strip().casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _suggestions(written: str) -> str:
    similar = get_close_matches(_plain(written), _codes(), n=_MAX_SUGGESTIONS, cutoff=_MIN_SIMILARITY)
    codes = dict.fromkeys(_codes()[name] for name in similar)
    near = ", did you mean " + " or ".join(f"{_names()[code][0]} ({code})" for code in codes) + "?" if codes else ""
    return f"language: use a code of ISO 639-1, like en, or a name, like English{near}"
