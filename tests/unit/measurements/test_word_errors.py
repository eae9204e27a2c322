"""How the bench counts words."""

import pytest

from tests.truth.words import Score, errors_by_part, plain, scored


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Please press 1, then 10.", "please press one then ten"),
        ("Нажмите решётку…", "нажмите решетку"),
        ("Su número", "su numero"),
        ("l\u2019appel", "l'appel"),
        ("29340", "two nine three four zero"),
        ("cinque; пять", "5 5"),
        ("Mr. Dashwood", "mister dashwood"),
    ],
)
def test_equivalent_texts_are_equal(one: str, other: str) -> None:
    assert plain(one) == plain(other)


def test_words_wrong_missing_and_too_many_are_errors() -> None:
    # When one word of five is another, one is missing and one is added
    score = scored(["now press the pound key"], ["now press a pound key please"])
    # Then substitution and insertion are two errors in five words
    assert score == Score(errors=2, words=5, longest_missing=0)
    assert score.rate == pytest.approx(0.4)


def test_the_longest_run_of_missing_words_is_that_of_one_recording() -> None:
    # Given two recordings, of which one lacks three words in the middle and the other its last two
    references = ["to hear the next message press the pound key", "the conference is locked"]
    hypotheses = ["to hear the press the pound key", "the conference is"]
    # Then the longest run is two words of the first, though three words are missing in all
    assert scored(references, hypotheses) == Score(errors=3, words=13, longest_missing=2)


def test_a_recording_without_text_misses_all_its_words() -> None:
    assert scored(["one two three"], [""]) == Score(errors=3, words=3, longest_missing=3)


def test_kinds_are_pooled_by_words() -> None:
    # Given a short recording with many errors and a long one with few
    pooled = Score.pooled([Score(5, 10, 4), Score(5, 90, 2)])
    # Then each word counts alike, and the longest run is the longest of all
    assert pooled == Score(10, 100, 4)


def test_errors_belong_to_the_part_in_which_they_are_made() -> None:
    # Given three parts, of which the second is left out and the third has a word too many
    references = ["the conference is locked", "конференция заблокирована", "la conferencia"]
    # Then each has its own errors
    assert errors_by_part(references, "the conference is locked la gran conferencia") == [0, 2, 1]


def test_words_after_the_end_belong_to_the_last_part() -> None:
    assert errors_by_part(["yes", "no"], "yes no thank you") == [0, 2]
