"""Choose the language of each region of a window from the probabilities of the languages in each region.

The Viterbi algorithm finds the most probable sequence of languages. A change of language costs as much as a factor of
e^2 (about 7) in probability, and a region of less than two seconds weighs less. So an uncertain or short region gets
the language of its neighbours; a certain region keeps its own. The language before the window counts as a neighbour.
"""

from collections.abc import Mapping, Sequence
from math import log

Evidence = Mapping[str, float]  # the probability of each language
RegionEvidence = tuple[float, Evidence]  # the seconds of a region, and the probabilities of its languages

_CHANGE = 2.0  # cost of a change of language: minus the natural logarithm of its probability
_LEAST = 1e-3  # a lower probability counts as this one, so that no language is impossible
_ENOUGH_S = 2.0  # a shorter region weighs less, because its language is often mistaken

Scores = dict[str, float]


def choose_languages(regions: Sequence[RegionEvidence], previous: str | None) -> tuple[list[str], bool]:
    """Return the language of each region, and whether all would be the same after any other `previous` language."""
    scores = _scores(regions)
    best, *others = sorted(scores[0].values(), reverse=True)
    settled = not others or best - others[0] > _CHANGE
    found: list[str] = []
    for of_region in scores:
        found.append(_best(of_region, found[-1] if found else previous))
    return found, settled


def _scores(regions: Sequence[RegionEvidence]) -> list[Scores]:
    """Score each language in each region: the log probability of the best sequence that begins with it there."""
    likely = {language for _, evidence in regions for language, probable in evidence.items() if probable >= _LEAST}
    possible = sorted(likely | {max(evidence, key=lambda language: evidence[language]) for _, evidence in regions})
    rest = dict.fromkeys(possible, 0.0)
    scores: list[Scores] = []
    for seconds, evidence in reversed(regions):
        weight = min(seconds / _ENOUGH_S, 1.0)
        of_region = {each: weight * log(max(evidence.get(each, 0.0), _LEAST)) + rest[each] for each in possible}
        scores.append(of_region)
        best = max(of_region.values())
        rest = {each: max(of_region[each], best - _CHANGE) for each in possible}
    return scores[::-1]


def _best(scores: Scores, before: str | None) -> str:
    """Return the language `before`, unless another one scores higher by more than a change costs."""
    best = max(scores, key=lambda each: (scores[each], each))
    if before in scores and scores[best] - scores[before] <= _CHANGE:
        return before
    return best
