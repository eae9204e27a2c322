"""`python -m benchmarks.redaction.measure [SET] [N]`: recall and false redactions by entity, on generated text."""

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from natscribe.schemas.redaction import EntityType

from app.engines.text.redaction.persons import PersonFinder
from app.engines.text.redaction.redaction import Span, spans
from benchmarks.redaction.values import Values

_TYPES: Final = {
    "iban": EntityType.BANK_ACCOUNT,
    "account": EntityType.BANK_ACCOUNT,
    "routing": EntityType.BANK_ACCOUNT,
    "bik": EntityType.BANK_ACCOUNT,
    **dict.fromkeys(("ssn", "nino", "license", "inn", "inn10", "snils", "passport"), EntityType.NATIONAL_ID),
    "dob": EntityType.DATE_OF_BIRTH,
    **dict.fromkeys(("first_name", "last_name"), EntityType.PERSON),
    "username": EntityType.USERNAME_PASSWORD,
    "password": EntityType.USERNAME_PASSWORD,
}
_TURN: Final = re.compile(r"\s\w+: [\w ]+\. \w+: ")
_SLOT: Final = re.compile(r"\{(\w+)(?::(\w+))?\}")  # a kind, and the case of a Russian name
Truth = list[tuple[int, int, EntityType, bool]]  # where, and whether it is as a recognizer writes it


def lines(language: str, which: str, rounds: int) -> Iterator[tuple[str, Truth]]:
    """Yield texts of the templates, each `rounds` times, and where personal data is in them."""
    templates = (Path(__file__).parent / f"{which}.{language}.txt").read_text(encoding="utf-8").splitlines()
    values = Values(language, seed=len(which))
    for template in templates * rounds:
        text, truth, at = "", Truth(), 0
        for slot in _SLOT.finditer(template):
            kind = slot[1]
            text += template[at : slot.start()]
            value = values.of(kind, slot[2])
            type_ = _TYPES.get(kind) or (EntityType(kind) if kind in list(EntityType) else None)
            if type_ is not None:
                truth.append((len(text), len(text) + len(value), type_, values.is_recognized))
            text, at = text + value, slot.end()
        yield text + template[at:], truth


@dataclass
class Count:
    """How much of one type was redacted when only this type was asked for, and had this type when all were."""

    values: int = 0
    redacted: int = 0
    labelled: int = 0


def main(which: str, rounds: int, *, show: bool) -> None:
    """Print the recall of each type, and the share of other words that are redacted."""
    print(
        "| language | type | text | values | redacted | of this type, if all types are redacted |\n|---|---|---|---|---|---|"
    )
    persons = PersonFinder()
    for language in ("en", "ru"):
        counts, words, others = defaultdict[tuple[EntityType, bool], Count](Count), 0, 0
        for text, truth in lines(language, which, rounds):
            names = persons.find(text, language)
            found = spans(text, language, list(EntityType), names)
            for start, end, type_, is_recognized in truth:
                covered = {at for span in spans(text, language, {type_}, names) for at in range(span.start, span.end)}
                is_whole = all(at in covered or not text[at].isalnum() for at in own_characters(text, start, end))
                count = counts[type_, is_recognized]
                count.values += 1
                count.redacted += is_whole
                count.labelled += any(span.type is type_ and span.start < end and start < span.end for span in found)
                if show and not is_whole:
                    print("MISSED", type_.value, text[start:end], "|", text)
            false, outside = _false(text, found, truth, show=show)
            words, others = words + outside, others + false
        for (type_, is_recognized), count in sorted(counts.items()):
            kind = "after recognition" if is_recognized else "perfect"
            shares = f"{count.redacted / count.values:.1%} | {count.labelled / count.values:.1%}"
            print(f"| {language} | `{type_.value}` | {kind} | {count.values} | {shares} |")
        print(f"{language}: {others / words:.2%} of {words} other words are redacted if all types are")


def own_characters(text: str, start: int, end: int) -> set[int]:
    """Return where a value is in a text, but for the names of speakers and what the other one says between."""
    said = (range(start + turn.start(), start + turn.end()) for turn in _TURN.finditer(text[start:end]))
    return set(range(start, end)).difference(*said)


def _false(text: str, found: Sequence[Span], truth: Truth, *, show: bool) -> tuple[int, int]:
    """Return how many words that are no personal data are redacted, and how many there are."""
    outside = [
        word for word in re.finditer(r"\w+", text) if not any(start <= word.start() < end for start, end, *_ in truth)
    ]
    false = [word for word in outside if any(span.start <= word.start() < span.end for span in found)]
    if show and false:
        print(
            "FALSE",
            [word.group() for word in false],
            [(span.type.value, text[span.start : span.end]) for span in found],
            "|",
            text,
        )
    return len(false), len(outside)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), show="--show" in sys.argv)
