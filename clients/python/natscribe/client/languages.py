"""Converts what people write as a language, such as `EN`, `en-US`, `English` or `русский`, to its code."""

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
    """Return the code of a language from a code, a locale or a name, in upper or lower case.

    Any code of two or three letters is valid, because models may know other languages than Whisper.

    Raises:
        OptionError: `written` is no code or locale, and no language of Whisper has this name.
    """
    text = written if isinstance(written, str) else ""
    code = _codes().get(_plain(text)) or _code(text)
    if code is None:
        raise OptionError(_suggestions(text))
    return code


def _code(written: str) -> str | None:
    match = _CODE.fullmatch(written.strip())
    if match is None:
        return None
    code = match[1].lower()
    return OTHER_CODES.get(code, code)


def _codes() -> dict[str, str]:
    """Return the code of each language of Whisper by its names, in lower case and without accents."""
    return {_plain(name): code for code, names in _names().items() for name in names}


@cache
def _names() -> dict[str, list[str]]:
    """Return the names of each language of Whisper by its code: first the English name, then the language's own."""
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
