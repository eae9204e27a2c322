"""Choose the language of each region of a window, given the probability of each language in each region.

The Viterbi algorithm finds the most probable sequence of languages. A change of language costs a factor of e^2 (about
7) in probability, and a region of less than 2 s weighs less. So an uncertain or short region gets the language of its
neighbours; a certain region keeps its own. The language before the window counts as a neighbour.
"""

from collections.abc import Mapping, Sequence
from math import log

Evidence = Mapping[str, float]  # the probability of each language
RegionEvidence = tuple[float, Evidence]  # the seconds of a region, and the probabilities of its languages

_CHANGE_COST = 2.0  # minus the natural logarithm of the probability of a change of language
_MIN_PROBABILITY = 1e-3  # a lower probability is raised to this one, so that no language is impossible
_ENOUGH_S = 2.0  # a shorter region weighs less, because its language is often misidentified

Scores = dict[str, float]


def choose_languages(regions: Sequence[RegionEvidence], previous: str | None) -> tuple[list[str], bool]:
    """Return the language of each region, and whether the result is independent of `previous`.

    `regions`: the length of each region in seconds, and the probability of each language in it. `previous`: the
    language before the first region; None if unknown.
    """
    scores = _scores(regions)
    best, *others = sorted(scores[0].values(), reverse=True)
    settled = not others or best - others[0] > _CHANGE_COST
    languages: list[str] = []
    for of_region in scores:
        languages.append(_best(of_region, languages[-1] if languages else previous))
    return languages, settled


def _scores(regions: Sequence[RegionEvidence]) -> list[Scores]:
    """Return, for each region, the score of each language.

    The score is the log probability of the most probable sequence of languages from this region to the end of the
    window, if this region is in the given language.
    """
    likely = {language for _, evidence in regions for language, p in evidence.items() if p >= _MIN_PROBABILITY}
    possible = sorted(likely | {max(evidence, key=lambda language: evidence[language]) for _, evidence in regions})
    rest = dict.fromkeys(possible, 0.0)
    scores: list[Scores] = []
    for seconds, evidence in reversed(regions):
        weight = min(seconds / _ENOUGH_S, 1.0)
        of_region = {
            language: weight * log(max(evidence.get(language, 0.0), _MIN_PROBABILITY)) + rest[language]
            for language in possible
        }
        scores.append(of_region)
        best = max(of_region.values())
        rest = {language: max(score, best - _CHANGE_COST) for language, score in of_region.items()}
    return scores[::-1]


def _best(scores: Scores, before: str | None) -> str:
    """Return the most probable language of a region, given the language `before` it.

    That is `before` itself, unless another one scores higher by more than the cost of a change.
    """
    best = max(scores, key=lambda language: (scores[language], language))
    if before in scores and scores[best] - scores[before] <= _CHANGE_COST:
        return before
    return best
