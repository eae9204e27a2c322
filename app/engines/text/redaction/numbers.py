"""What a run of digits is: the words before it say it, or else its length and its shape.

Recognizers lose and double digits, so no rule requires an exact length or a check digit: they only raise the score.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from natscribe.schemas.redaction import EntityType

from app.engines.text.redaction.checks import is_card, is_inn, is_snils
from app.engines.text.redaction.digit_runs import TOKEN, Run
from app.engines.text.redaction.found import Found
from app.engines.text.redaction.lexicon import CONTEXTS, FILLERS

_BEFORE: Final = 160  # characters before a run in which words may say what it is
_AFTER: Final = 40  # and after it
_BEFORE_FEW: Final = 60  # before a run of few digits
_FEW: Final = 5
_TIME: Final = re.compile(r"\d{1,2}:\d\d(?::\d\d)?")
_NUMBER_DIGITS: Final = 4
_UNFINISHED_DIGITS: Final = 3
_UNFINISHED_PIECES: Final = 3  # of a number that is given digit by digit, or group by group
_UNFINISHED_LONG: Final = 7  # digits
_CARD_DIGITS: Final = range(13, 20)
_PHONE_DIGITS: Final = range(10, 13)
_RUSSIAN_ACCOUNT_DIGITS: Final = range(20, 22)  # 20, one of which may be doubled
_WITH_LETTERS: Final = frozenset({EntityType.NATIONAL_ID, EntityType.BANK_ACCOUNT})  # next to their digits
_ANYTHING: Final = {  # from how many digits on a number may be of a type, although nothing says what it is
    EntityType.PHONE: 7,
    EntityType.NATIONAL_ID: 9,
    EntityType.BANK_ACCOUNT: 9,
    EntityType.CARD: 12,
}


def numbers(text: str, runs: Iterable[Run]) -> Iterator[Found]:
    """Yield what each run of digits may be, with a score for each type."""
    previous_end = 0
    for run in runs:
        scores = _scores(text, run, previous_end)
        previous_end = run.end
        for type_, score in scores.items():
            places = (_with_sign(text, span) for span in run.spans(text))
            if type_ in _WITH_LETTERS:
                places = (_whole_word(text, place) for place in places)
            yield Found(type_, tuple(places), score, run.digits)


def unfinished(text: str, run: Run, types: Collection[EntityType]) -> Found | None:
    """Return a run at the end of a text that goes on, as the beginning of the type of number that it may become.

    It may if words shortly before it name one of the `types`, or if it has several digits and such words are near, or
    several pieces, or many digits; "it costs 450" is no beginning.
    """
    numeric = [type_ for type_ in (EntityType.NUMBER, *_ANYTHING) if type_ in types]
    at_end = FILLERS.issuperset(TOKEN.findall(text[run.end :].casefold()))
    if not numeric or not at_end:
        return None
    has_several = len(run.digits) >= _UNFINISHED_DIGITS
    before = text[max(run.start - (_BEFORE if has_several else _BEFORE_FEW), 0) : run.start]
    said = {context.type for context in CONTEXTS if context.words.search(before)}
    named = [type_ for type_ in numeric if type_ in said]
    has_pieces = has_several and len(run.pieces) >= _UNFINISHED_PIECES
    if not named and not has_pieces and len(run.digits) < _UNFINISHED_LONG:
        return None
    return Found((named or numeric)[0], tuple(_with_sign(text, span) for span in run.spans(text)), 0.3, run.digits)


def _scores(text: str, run: Run, previous_end: int) -> Mapping[EntityType, float]:
    count = len(run.digits)
    said = _said(text, run, previous_end)
    scores = {} if said else {type_: 0.3 for type_, least in _ANYTHING.items() if run.is_spelled or count >= least}
    for type_, score in (*_shaped(run), *said.items()):
        scores[type_] = max(score, scores.get(type_, 0.0))
    if count >= _NUMBER_DIGITS and not _TIME.fullmatch(text, run.start, run.end):
        scores.setdefault(EntityType.NUMBER, 0.4)
    return scores


def _said(text: str, run: Run, previous_end: int) -> dict[EntityType, float]:
    """Return the types that the words around a run name: the nearer the words, the higher the score."""
    count = len(run.digits)
    reach = _BEFORE_FEW if count <= _FEW else _BEFORE
    before = text[max(run.start - reach, 0) : run.start]
    since_previous = len(before) - max(run.start - previous_end, 0)
    after = text[run.end : run.end + _AFTER].partition("\n")[0]
    scores: dict[EntityType, float] = {}
    for context in CONTEXTS:
        if not context.digits <= count <= context.most:
            continue
        found = [match.end() for match in context.words.finditer(before)]
        if found:
            distance = len(before) - found[-1]
            score = 0.95 - 0.3 * distance / _BEFORE - (0.15 if found[-1] <= since_previous else 0)
            scores[context.type] = max(score, scores.get(context.type, 0))
        elif match := context.words.search(after):
            scores[context.type] = max(0.6 - 0.2 * match.start() / _AFTER, scores.get(context.type, 0))
    return scores


def _shaped(run: Run) -> Iterator[tuple[EntityType, float]]:
    """Yield the types that the length, the shape and the check digits of a run suggest."""
    digits, count, shape = run.digits, len(run.digits), run.shape
    is_pension = is_snils(digits) and not digits.startswith(("7", "8"))  # which telephone numbers start with
    for type_, score, fits in (
        (EntityType.CARD, 0.9, is_card(digits)),
        (EntityType.CARD, 0.7, count in _CARD_DIGITS or shape[:3] == (4, 4, 4)),
        (EntityType.BANK_ACCOUNT, 0.8, count in _RUSSIAN_ACCOUNT_DIGITS and digits.startswith(("3", "4"))),
        (EntityType.NATIONAL_ID, 0.7, shape in {(3, 2, 4), (3, 3, 3, 2)} or is_pension),
        (EntityType.NATIONAL_ID, 0.55, shape in {(4, 6), (2, 2, 6)} or is_inn(digits)),
        (EntityType.PHONE, 0.6, count in _PHONE_DIGITS or shape in {(3, 4), (3, 2, 2)}),
    ):
        if fits:
            yield type_, score


def _whole_word(text: str, place: tuple[int, int]) -> tuple[int, int]:
    """Return a place with the letters next to it."""
    start, end = place
    while start > 0 and text[start - 1].isalnum():
        start -= 1
    while end < len(text) and text[end].isalnum():
        end += 1
    return start, end


def _with_sign(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """Return a span with the plus or the bracket before it, and the bracket's end."""
    start, end = span
    while start > 0 and text[start - 1] in "+(":
        start -= 1
    return start, end
