"""Error rates over many conversations: pooled, the mean, and the worst."""

import json

import pytest

from benchmarks.spread import Scored, facts, spread, table
from tests.truth.attributed import time_errors
from tests.truth.conversations import Said


def scored(name: str, turns: list[tuple[float, float, str]], seconds: float = 20) -> Scored:
    said = [Said("anna", 0, seconds / 2), Said("boris", seconds / 2, seconds)]
    return Scored(name, seconds, time_errors(said, turns, seconds), 2, len({turn[2] for turn in turns}))


@pytest.fixture
def two() -> list[Scored]:
    """A conversation of 20 s that is right, and one of 40 s with one speaker for two."""
    return [scored("right", [(0, 10, "a"), (10, 20, "b")]), scored("wrong", [(0, 40, "a")], 40)]


def test_a_figure_is_told_pooled_as_a_mean_and_for_the_worst(two: list[Scored]) -> None:
    found = spread(two, "DER")
    assert found is not None
    assert (found.worst, found.worst_name) == (0.5, "wrong")
    assert str(found) == "33.3; 25.0; 50.0 wrong"


def test_a_figure_that_nothing_has_is_left_out(two: list[Scored]) -> None:
    # Given conversations without words
    assert spread(two, "cpWER") is None
    # Then neither the table nor what a machine reads has figures of words
    written = table("Both", {"set": two})
    assert "cpWER" not in written.columns
    assert written.rows[0][-2] == "1 of 2, 1 off"
    assert "WER" not in json.dumps(facts(two))
