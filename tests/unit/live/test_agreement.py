"""Words of an utterance that is still being spoken: which of them are stable."""

import random

import pytest

from app.speech.live.agreement import LocalAgreement


def passes(*texts: str) -> list[tuple[str, str]]:
    """The stable words and all words after each pass."""
    agreement, shown_after = LocalAgreement(), list[tuple[str, str]]()
    for text in texts:
        shown = agreement.update(text.split())
        shown_after.append((" ".join(agreement.stable), " ".join(shown)))
    return shown_after


def test_the_first_interim_pass_is_not_stable() -> None:
    assert passes("good morning") == [("", "good morning")]


def test_words_on_which_two_interim_passes_agree_are_stable() -> None:
    assert passes("good morning", "good morning shall", "good mourning shall we") == [
        ("", "good morning"),
        ("good morning", "good morning shall"),
        ("good morning shall", "good morning shall we"),
    ]


def test_marks_and_capitals_are_no_other_words() -> None:
    assert passes("good morning.", "Good morning, shall")[-1] == ("Good morning,", "Good morning, shall")


@pytest.mark.parametrize("shorter", ["", "good", "other words"])
def test_an_interim_pass_that_finds_less_takes_nothing_back(shorter: str) -> None:
    stable, shown = passes("good morning all", "good morning all", shorter)[-1]
    assert stable == "good morning all"
    assert shown.startswith(stable)


def test_words_of_only_one_interim_pass_are_not_stable() -> None:
    assert passes("one", "two", "one", "two")[-1] == ("", "two")


def test_stable_words_only_grow() -> None:
    # Given any passes over an utterance
    chance = random.Random(8)  # noqa: S311 -- no secret
    for _ in range(200):
        agreement, before = LocalAgreement(), list[str]()
        for _ in range(12):
            words = [chance.choice(["a", "b", "A,"]) for _ in range(chance.randrange(6))]
            shown = agreement.update(words)
            # Then stable words stay, and everything shown begins with them
            assert agreement.stable[: len(before)] == before
            assert shown[: len(agreement.stable)] == agreement.stable
            before = list(agreement.stable)
