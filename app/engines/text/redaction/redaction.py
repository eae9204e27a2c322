"""Find personal data in a text, and replace it."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from natscribe.schemas.redaction import EntityType, Redacted, RedactedEntity, Replacement

from app.engines.text.redaction.addresses import addresses
from app.engines.text.redaction.dates import dates
from app.engines.text.redaction.digit_runs import digit_runs
from app.engines.text.redaction.found import Found
from app.engines.text.redaction.numbers import numbers, unfinished


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a text to replace."""

    start: int
    end: int
    type: EntityType
    score: float
    value: str


def redacted(text: str, language: str | None, types: Collection[EntityType], replace: Replacement) -> Redacted:
    """Return a text in which personal data of some types is replaced; equal values have one number."""
    numbers_of: dict[EntityType, dict[str, int]] = defaultdict(dict)
    parts, entities, at = list[str](), list[RedactedEntity](), 0
    for span in spans(text, language, types):
        known = numbers_of[span.type]
        number = known.setdefault(span.value, len(known) + 1)
        entities.append(
            RedactedEntity(type=span.type, start=span.start, end=span.end, score=round(span.score, 2), number=number)
        )
        parts += [text[at : span.start], replace.of(span.type, number)]
        at = span.end
    return Redacted(text="".join([*parts, text[at:]]), entities=entities)


def spans(text: str, language: str | None, types: Collection[EntityType], *, is_open: bool = False) -> list[Span]:
    """Return what to replace, in order; parts of the text that may be of several types have the most certain one.

    `is_open`: whether the text goes on, so that digits at its end may be the beginning of a number.
    """
    runs = digit_runs(text, language)
    found = [*numbers(text, runs), *dates(text), *addresses(text, runs)]
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
