"""`python -m benchmarks.numbers`: how many texts have their numbers in digits as they should.

text2num and itntext are measured, too, if they are installed. They have other conventions, so the second figure counts
texts that have the right digits, however they are separated.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from app.engines.text.numbers.digits import in_digits
from tests.truth.numbers import NumberText, number_texts

Converter = Callable[[str], str]
PARTS: Sequence[Literal["tuned", "held_out"]] = ("tuned", "held_out")


def converters(language: str) -> Mapping[str, Converter]:
    """Return what writes the numbers of a language in digits, by name."""

    def own(text: str) -> str:
        for item in reversed(in_digits(text, language)):
            text = f"{text[: item.start]}{item.text}{text[item.end :]}"
        return text

    found: dict[str, Converter] = {"own rules": own}
    if find_spec("text_to_num") and language == "en":
        convert = import_module("text_to_num").alpha2digit
        found["text2num"] = lambda text: str(convert(text, "en"))
    if find_spec("itntext"):
        normalizer = import_module("itntext").Normalizer(lang=language, operator="itn")
        found["itntext"] = lambda text: str(normalizer.normalize(text))
        found["itntext, small letters"] = lambda text: str(normalizer.normalize(text.lower()))
    return found


def digits_of(text: str) -> str:
    """Return the digits of a text, joined."""
    return "".join(re.findall(r"\d", text))


def main() -> None:
    """Print a table: by language, converter and part, how many texts are right, and how many have the right digits."""
    print("| language | converter | texts | right | right digits | wrong digits by kind |\n|---|---|---|---|---|---|")
    for language in ("en", "ru"):
        for name, convert in converters(language).items():
            for part in PARTS:
                texts = number_texts(language, part)
                written = [convert(item.text) for item in texts]
                right = sum(text == item.digits for text, item in zip(written, texts, strict=True))
                wrong = [item for text, item in zip(written, texts, strict=True) if not has_digits(text, item)]
                row = (language, name, part, right, len(texts) - len(wrong), by_kind(wrong))
                print(f"| {' | '.join(map(str, row))} |")


def has_digits(text: str, truth: NumberText) -> bool:
    """Return whether a text has the digits that it should have, in their order."""
    return digits_of(text) == digits_of(truth.digits)


def by_kind(texts: Sequence[NumberText]) -> str:
    """Count texts by the kind of their numbers."""
    kinds = [item.kind for item in texts]
    return ", ".join(f"{kind} {kinds.count(kind)}" for kind in dict.fromkeys(kinds))


if __name__ == "__main__":
    main()
