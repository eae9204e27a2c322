"""Move the times of words to where speech begins and ends.

Models place words by their attention, which is blurred: words end 0.2 s too early, and begin in the silence before
them. So the words of a window are aligned with its stretches of speech (`stretches.py`): a word starts where a stretch
starts, or inside of one, and its end likewise. Words that meet inside a stretch touch.

Of all ways to do so the cheapest is chosen, by dynamic programming. Moving a time costs its distance, but nothing where
a word begins or ends in a silence. A pause in a word and a stretch without words have a cost, too: so several words
that are half a second off return to their places together.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.engines.audio.stretches import Seconds
from app.engines.audio.timeline import Times

MAX_MOVE_S = 1.0  # by which a time is moved at most

# Costs are in seconds by which a time is moved.
_EARLY_S = 0.2  # models end words early: moving an end later by this much costs nothing
_PAUSE_S = 0.08  # a word may contain a pause this long, before a consonant such as "t"
_PAUSE_COST = 6.0  # of each second of a longer pause in a word
_MAX_PAUSE_COST = 2.0
_SKIP_COST = 3.0  # of each second of speech without words
_INSIDE_COST = 0.05  # of a time inside a stretch
_OUTSIDE_COST = 2.0  # of each second between a stretch and a time that stays at its edge
_APART_COST = 0.5  # more, if no other word touches it there

_Costs = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]
_AT_EDGE, _INSIDE = 0, 1  # the two places in each stretch: a row of costs for each, shape (2, stretches)
# Costs so far of each place, and for each the best place of the time before it, as an index into the flattened costs.
_Step = tuple[_Costs, _Indices]


class _Stretches:
    """Stretches of speech, from `starts` to `ends` (seconds), and what it costs to place words in them."""

    def __init__(self, starts: Seconds, ends: Seconds) -> None:
        self.starts, self.ends = starts, ends
        self._previous_end = np.concatenate(([-np.inf], ends[:-1]))
        self._next_start = np.concatenate((starts[1:], [np.inf]))
        pauses = np.clip((starts[1:] - ends[:-1] - _PAUSE_S) * _PAUSE_COST, 0, _MAX_PAUSE_COST)
        self._pauses = np.concatenate(([0.0], np.cumsum(pauses)))  # in a word from the first stretch to each
        self._skipped = np.concatenate(([0.0], np.cumsum((ends - starts) * _SKIP_COST)))  # before each, and in all

    def before_words(self) -> _Costs:
        """Return the cost of each place for the first start: that of earlier stretches, which have no words."""
        return np.stack([self._skipped[:-1], self._skipped[:-1] + _APART_COST])

    def after_words(self) -> _Costs:
        """Return the cost of each place for the last end: that of later stretches, which have no words."""
        later = self._skipped[-1] - self._skipped[1:]
        return np.stack([later, later + _APART_COST])

    def start_costs(self, start: float) -> _Costs:
        """Return the cost of moving the start of a word to each place."""
        return self._costs(start, self.starts, np.maximum(self._previous_end - start, start - self.starts))

    def end_costs(self, end: float) -> _Costs:
        """Return the cost of moving the end of a word to each place."""
        return self._costs(end, self.ends, np.maximum(self.ends - _EARLY_S - end, end - self._next_start))

    def _costs(self, second: float, edges: Seconds, at_edge: _Costs) -> _Costs:
        inside = np.maximum(self.starts - second, second - self.ends)
        within_reach = np.abs(edges - second) <= MAX_MOVE_S
        return np.stack(
            [
                np.where(within_reach, np.maximum(at_edge, 0), np.inf),
                np.maximum(inside, 0) * _OUTSIDE_COST + _INSIDE_COST,
            ]
        )

    def to_end(self, costs: _Costs) -> _Step:
        """Continue from the start of a word to its end, which is in the same stretch or in a later one."""
        lowest, place = _lowest_so_far(costs - self._pauses)
        return np.stack([lowest + self._pauses] * 2), np.stack([place] * 2)

    def to_next_start(self, costs: _Costs) -> _Step:
        """Continue from the end of a word to the start of the next one, in a later stretch, or touching it."""
        apart = costs + np.array([[0.0], [_APART_COST]]) - self._skipped[1:]
        lowest, place = _lowest_so_far(apart)
        later = np.concatenate(([np.inf], lowest[:-1])) + self._skipped[:-1]
        place = np.concatenate(([0], place[:-1]))
        touches = costs[_INSIDE] <= later + _APART_COST
        inside = np.where(touches, costs[_INSIDE], later + _APART_COST)
        touched = len(touches) + np.arange(len(touches))
        return np.stack([later, inside]), np.stack([place, np.where(touches, touched, place)])


def moved_to_speech(words: Sequence[Times], starts: Seconds, ends: Seconds) -> list[Times]:
    """Return the times of words, each moved by a second at most to where speech begins and ends.

    `words`: the start and end of each word, in order of their starts. `starts`, `ends`: of each stretch of speech, in
    order. All in seconds.
    """
    if not words or not len(starts):
        return list(words)
    limits = [*(start for start, _ in words[1:]), np.inf]
    apart = [(start, max(start, min(end, limit))) for (start, end), limit in zip(words, limits, strict=True)]
    stretches = _Stretches(starts, ends)
    return _placed(apart, _best_places(apart, stretches), stretches)


def _best_places(words: Sequence[Times], stretches: _Stretches) -> list[tuple[int, int]]:
    """Return the places of the times of all words, start and end of each in turn, as (_AT_EDGE or _INSIDE, stretch)."""
    steps = list[_Indices]()
    costs = stretches.before_words()
    for start, end in words:
        if steps:
            costs, origins = stretches.to_next_start(costs)
            steps.append(origins)
        costs, origins = stretches.to_end(costs + stretches.start_costs(start))
        steps.append(origins)
        costs = costs + stretches.end_costs(end)
    places = [int((costs + stretches.after_words()).argmin())]
    for origins in reversed(steps):
        places.append(int(origins.flat[places[-1]]))
    return [divmod(place, len(stretches.starts)) for place in reversed(places)]


def _placed(words: Sequence[Times], places: Sequence[tuple[int, int]], stretches: _Stretches) -> list[Times]:
    """Return the times of words in their places; a time that is too far away from its place stays as it is."""
    given = np.array(words).ravel()
    modes, numbers = np.array(places).T
    first, last = stretches.starts[numbers], stretches.ends[numbers]
    edges = np.where(np.arange(len(given)) % 2, last, first)
    moved = np.where(modes == _AT_EDGE, edges, np.clip(given, first, last))
    touching = np.flatnonzero(
        (modes[1:-1:2] == _INSIDE) & (modes[2::2] == _INSIDE) & (numbers[1:-1:2] == numbers[2::2])
    )
    moved[2 * touching + 1] = moved[2 * touching + 2]
    moved = np.maximum.accumulate(np.where(np.abs(moved - given) <= MAX_MOVE_S, moved, given))
    return [(float(start), float(end)) for start, end in moved.reshape(-1, 2)]


def _lowest_so_far(costs: _Costs) -> _Step:
    """Return the lowest cost in each stretch and all earlier ones, and its place."""
    lowest = np.minimum.accumulate(costs.min(axis=0))
    stretch = np.maximum.accumulate(np.where(costs.min(axis=0) <= lowest, np.arange(costs.shape[1]), 0))
    return lowest, costs.argmin(axis=0)[stretch] * costs.shape[1] + stretch
