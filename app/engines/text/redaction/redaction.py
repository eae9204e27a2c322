"""Find personal data in a text, and replace it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from natscribe.schemas.redaction import EntityType, Redacted, RedactedEntity, Replacement

from app.engines.text.redaction.addresses import addresses
from app.engines.text.redaction.dates import dates
from app.engines.text.redaction.digit_runs import digit_runs
from app.engines.text.redaction.found import Found
from app.engines.text.redaction.numbers import numbers, unfinished
from app.engines.text.redaction.persons import same_person

_COMPARED = 1000  # different names of persons; more are one person only if they are equal: each is compared with all


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text to replace."""

    start: int
    end: int
    type: EntityType
    score: float
    value: str


@dataclass
class Numbering:
    """Numbers the values of each type from 1: equal values have one number, and so have the names of one person.

    `highest`: the highest number of each type.
    """

    highest: Counter[EntityType] = field(default_factory=Counter)
    _numbers: dict[EntityType, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def of(self, type_: EntityType, value: str, *, earlier: int | None = None) -> int:
        """Return the number of a value; `earlier`: that of a part of it, if the value is new."""
        known = self._numbers[type_]
        if value not in known:
            is_compared = type_ is EntityType.PERSON and len(known) < _COMPARED
            person = same_person(value, known) if is_compared else None
            known[value] = known[person] if person else earlier or self.highest[type_] + 1
            self.highest[type_] = max(known[value], self.highest[type_])
        return known[value]


def redacted(
    text: str,
    language: str | None,
    types: Collection[EntityType],
    replace: Replacement,
    persons: Collection[Found] = (),
) -> Redacted:
    """Return a text in which personal data of some types is replaced; equal values have one number.

    `persons`: the names in the text.
    """
    numbering = Numbering()
    parts, entities, at = list[str](), list[RedactedEntity](), 0
    for span in spans(text, language, types, persons):
        number = numbering.of(span.type, span.value)
        entities.append(
            RedactedEntity(type=span.type, start=span.start, end=span.end, score=round(span.score, 2), number=number)
        )
        parts += [text[at : span.start], replace.of(span.type, number)]
        at = span.end
    return Redacted(text="".join([*parts, text[at:]]), entities=entities)


def spans(
    text: str,
    language: str | None,
    types: Collection[EntityType],
    persons: Collection[Found] = (),
    *,
    is_open: bool = False,
) -> list[Span]:
    """Return what to replace, in order; parts of the text that may be of several types have the most certain one.

    `persons`: the names in the text. `is_open`: whether the text goes on, so that digits at its end may be the
    beginning of a number.
    """
    runs = digit_runs(text, language)
    found = [*numbers(text, runs), *dates(text), *addresses(text, runs), *persons]
    if is_open and runs and (beginning := unfinished(text, runs[-1], types)):
        found.append(beginning)
    return _apart(one for one in found if one.type in types)


def _apart(found: Iterable[Found]) -> list[Span]:
    """Return spans that do not overlap: of two that do, the more certain one also replaces what only the other has."""
    chosen: list[Span] = []
    parts = (Span(*place, one.type, one.score, one.value) for one in found for place in one.spans)
    for part in sorted(parts, key=lambda part: (part.start, -part.end)):
        if not chosen or part.start >= chosen[-1].end:
            chosen.append(part)
            continue
        best = max(chosen[-1], part, key=lambda span: (span.score, span.end - span.start))
        chosen[-1] = Span(chosen[-1].start, max(chosen[-1].end, part.end), best.type, best.score, best.value)
    return chosen
