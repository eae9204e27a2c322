"""Error rates over many conversations: pooled, the mean, and the worst."""

from pathlib import Path

import pytest

from benchmarks.spread import Scored, scored, spread, table
from tests.truth.conversations import Conversation, Said


def conversation(name: str, turns: list[tuple[float, float, str]], seconds: float = 20) -> Scored:
    utterances = [Said("anna", 0, seconds / 2), Said("boris", seconds / 2, seconds)]
    return scored(Conversation(Path(f"{name}.wav"), utterances), seconds, turns)


@pytest.fixture
def two() -> list[Scored]:
    """A conversation of 20 s that is right, and one of 40 s with one speaker for two."""
    return [conversation("right", [(0, 10, "a"), (10, 20, "b")]), conversation("wrong", [(0, 40, "a")], 40)]


def test_a_figure_is_pooled_a_mean_and_that_of_the_worst(two: list[Scored]) -> None:
    rates = spread(two, "DER")
    assert rates is not None
    assert (rates.worst, rates.worst_name) == (0.5, "wrong")
    assert str(rates) == "33.3; 25.0; 50.0 wrong"


def test_a_figure_that_no_conversation_has_is_left_out(two: list[Scored]) -> None:
    # Given conversations without words
    assert spread(two, "cpWER") is None
    # Then the table has no figures of words, and counts who has a wrong number of speakers
    written = table("Both", {"set": two})
    assert "cpWER" not in written.columns
    assert written.rows[0][-2] == "1 of 2, 1 off"
