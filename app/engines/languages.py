"""Languages: which one is spoken in each part of a window, from how probable each part is for each language.

The most probable sequence of languages is looked for (Viterbi), where a change costs as much as being e^2, about
seven times, less probable, and a part of less than two seconds counts for less: a part that is unsure or short takes
the language of its neighbours, and one that is sure does not. The language before the window counts as a neighbour.
"""

from collections.abc import Mapping, Sequence
from math import log

Evidence = Mapping[str, float]  # the probability of each language
Part = tuple[float, Evidence]  # seconds of speech, and the languages they may be in

CHANGE = 2.0  # what a change costs, in natural logarithms of probabilities
_LEAST = 1e-3  # what is less probable than that is no less possible
_ENOUGH_S = 2.0  # of speech: of less, languages are often mistaken

Scores = dict[str, float]


def languages_of(parts: Sequence[Part], previous: str | None) -> tuple[list[str], bool]:
    """Find the language of each part, and whether all would be the same whatever was spoken before."""
    scores = _scores(parts)
    ranked = sorted(scores[0].items(), key=lambda each: (-each[1], each[0]))
    settled = len(ranked) == 1 or ranked[0][1] - ranked[1][1] > CHANGE
    found: list[str] = []
    for of_part in scores:
        found.append(_best(of_part, found[-1] if found else previous))
    return found, settled


def _scores(parts: Sequence[Part]) -> list[Scores]:
    """Score each part and language: how probable the rest is if that part is in that language."""
    likely = {language for _, part in parts for language, probable in part.items() if probable >= _LEAST}
    possible = sorted(likely | {max(part, key=lambda language: part[language]) for _, part in parts})
    rest = dict.fromkeys(possible, 0.0)
    scores: list[Scores] = []
    for seconds, part in reversed(parts):
        weight = min(seconds / _ENOUGH_S, 1.0)
        of_part = {each: weight * log(max(part.get(each, 0.0), _LEAST)) + rest[each] for each in possible}
        scores.append(of_part)
        best = max(of_part.values())
        rest = {each: max(of_part[each], best - CHANGE) for each in possible}
    return scores[::-1]


def _best(scores: Scores, before: str | None) -> str:
    """Stay with the language before unless another one is better by more than a change costs."""
    best = max(scores, key=lambda each: (scores[each], each))
    if before in scores and scores[best] - scores[before] <= CHANGE:
        return before
    return best
