"""Choose the language of each part of a window from the probabilities of the languages in each part.

The Viterbi algorithm finds the most probable sequence of languages. A change of language costs as much as a factor of
e^2 (about 7) in probability, and a part with less than two seconds of speech weighs less. So an uncertain or short part
gets the language of its neighbours; a certain part keeps its own. The language before the window counts as a neighbour.
"""

from collections.abc import Mapping, Sequence
from math import log

Evidence = Mapping[str, float]  # the probability of each language
Part = tuple[float, Evidence]  # the seconds of speech in a part, and the probabilities of its languages

CHANGE = 2.0  # cost of a change of language: minus the natural logarithm of its probability
_LEAST = 1e-3  # a lower probability counts as this one, so that no language is impossible
_ENOUGH_S = 2.0  # a part with less speech weighs less, because its language is often mistaken

Scores = dict[str, float]


def languages_of(parts: Sequence[Part], previous: str | None) -> tuple[list[str], bool]:
    """Return the language of each part, and whether each would be the same with any other `previous` language."""
    scores = _scores(parts)
    ranked = sorted(scores[0].items(), key=lambda each: (-each[1], each[0]))
    settled = len(ranked) == 1 or ranked[0][1] - ranked[1][1] > CHANGE
    found: list[str] = []
    for of_part in scores:
        found.append(_best(of_part, found[-1] if found else previous))
    return found, settled


def _scores(parts: Sequence[Part]) -> list[Scores]:
    """Score each language in each part: the log probability of the best sequence of languages that begins there."""
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
    """Keep the language `before` unless another language scores higher by more than a change costs."""
    best = max(scores, key=lambda each: (scores[each], each))
    if before in scores and scores[best] - scores[before] <= CHANGE:
        return before
    return best
