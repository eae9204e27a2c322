"""Words are moved to stretches of speech: where to, and what holds for any words and any stretches."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.audio.timeline import Times
from app.engines.audio.word_times import MAX_MOVE_S, moved_to_speech

SECONDS = 20.0  # of the longest window

seconds = st.integers(0, round(SECONDS * 100)).map(lambda frames: frames / 100)


def moved(words: Sequence[Times], stretches: Sequence[Times]) -> list[Times]:
    edges = np.array(stretches, np.float64).reshape(-1, 2)
    return [(round(start, 3), round(end, 3)) for start, end in moved_to_speech(words, edges[:, 0], edges[:, 1])]


def intervals(most: int) -> st.SearchStrategy[list[Times]]:
    """Intervals in order, none of which overlaps another one."""
    edges = st.lists(seconds, max_size=2 * most, unique=True).map(sorted)
    return edges.map(lambda times: list(zip(times[::2], times[1::2], strict=False)))


@pytest.mark.parametrize(
    ("words", "stretches", "expected"),
    [
        ([(0.2, 0.9)], [(0.5, 1.1)], [(0.5, 1.1)]),  # it begins in the silence before it, and ends early
        ([(0.4, 1.0), (1.0, 1.6)], [(0.5, 1.7)], [(0.5, 1.0), (1.0, 1.7)]),  # they meet inside a stretch
        ([(0.4, 0.8), (0.95, 1.6)], [(0.5, 1.7)], [(0.5, 0.95), (0.95, 1.7)]),  # there is no pause between them
        ([(0.5, 1.2), (1.2, 2.0)], [(0.5, 1.0), (1.5, 2.1)], [(0.5, 1.0), (1.5, 2.1)]),  # the pause is between them
        ([(0.5, 1.4)], [(0.5, 0.9), (0.95, 1.5)], [(0.5, 1.5)]),  # a word with a stop consonant
        (
            [(1.0, 1.6), (1.6, 2.2), (2.2, 2.9)],
            [(1.0, 1.2), (1.4, 1.9), (2.1, 2.8)],
            [(1.0, 1.2), (1.4, 1.9), (2.1, 2.8)],
        ),
        ([(0.5, 1.0)], [(0.0, 0.03), (0.6, 1.1)], [(0.6, 1.1)]),  # a click is no word
        ([(1.0, 1.4)], [(1.0, 4.0)], [(1.0, 1.4)]),  # what follows has no words
        ([(5.0, 5.5)], [(1.0, 2.0)], [(5.0, 5.5)]),  # a word where nobody speaks
        ([(0.5, 0.9)], [], [(0.5, 0.9)]),
        ([], [(0.5, 0.9)], []),
    ],
)
def test_words_are_moved_to_where_speech_begins_and_ends(
    words: list[Times], stretches: list[Times], expected: list[Times]
) -> None:
    assert moved(words, stretches) == expected


@given(intervals(40), intervals(40))
def test_words_keep_their_order_and_move_by_a_second_at_most(words: list[Times], stretches: list[Times]) -> None:
    times = moved(words, stretches)
    assert len(times) == len(words)
    assert all(start <= end for start, end in times)
    assert all(before[1] <= after[0] for before, after in pairwise(times))
    for given_times, new in zip(words, times, strict=True):
        assert all(abs(a - b) <= MAX_MOVE_S + 1e-3 for a, b in zip(given_times, new, strict=True))


@given(intervals(20), intervals(20))
def test_a_word_stays_in_the_window(words: list[Times], stretches: list[Times]) -> None:
    assert all(0 <= start <= end <= SECONDS for start, end in moved(words, stretches))


@given(intervals(20), intervals(20))
def test_a_time_is_at_an_edge_or_inside_of_speech_or_as_it_was(words: list[Times], stretches: list[Times]) -> None:
    edges = {round(edge, 3) for stretch in stretches for edge in stretch}
    given_times = {round(time, 3) for word in words for time in word}
    allowed = edges | given_times
    assert all(time in allowed for word in moved(words, stretches) for time in word)


@given(intervals(20))
def test_words_that_are_exact_already_stay(words: list[Times]) -> None:
    assert moved(words, words) == [(round(start, 3), round(end, 3)) for start, end in words]


@given(st.lists(st.tuples(seconds, seconds).map(sorted).map(tuple), max_size=30), intervals(20))
def test_overlapping_words_overlap_no_more(words: list[Times], stretches: list[Times]) -> None:
    times = moved(sorted(words), stretches)
    assert all(before[1] <= after[0] for before, after in pairwise(times)) or not stretches
