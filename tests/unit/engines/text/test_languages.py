from math import exp

import pytest

from app.engines.text.languages import choose_languages

CHANGE_FACTOR = exp(2.0)

SURE_EN = (3.0, {"en": 0.97, "ru": 0.01, "pl": 0.01})
SURE_RU = (3.0, {"ru": 0.97, "en": 0.01, "uk": 0.01})


def test_each_part_has_its_own_language_where_it_is_sure() -> None:
    spoken, _ = choose_languages([SURE_EN, SURE_EN, SURE_RU, SURE_RU], None)
    assert spoken == ["en", "en", "ru", "ru"]


def test_an_unsure_part_takes_its_neighbours_language() -> None:
    # Given an interval that is a little more like Polish, before, between and behind some that are surely English
    unsure = (3.0, {"pl": 0.3, "en": 0.1, "fi": 0.2})
    spoken, _ = choose_languages([unsure, SURE_EN, unsure, SURE_EN, unsure], None)
    # Then it is no Polish
    assert spoken == ["en"] * 5


def test_an_unsure_window_takes_the_language_before_it() -> None:
    unsure = (3.0, {"ca": 0.5, "es": 0.3})
    assert choose_languages([unsure], "es") == (["es"], False)
    assert choose_languages([unsure], None) == (["ca"], False)


def test_a_certain_language_does_not_depend_on_the_previous_one() -> None:
    for previous in (None, "en", "ru", "ja"):
        assert choose_languages([SURE_RU, SURE_RU], previous) == (["ru", "ru"], True)


def test_a_window_is_settled_exactly_if_nothing_before_it_could_change_it() -> None:
    # Given windows around the edge of being sure
    for probable in (0.02, 0.04, 0.06, 0.2):
        window = [(3.0, {"en": 0.9, "ru": probable}), (3.0, {"en": 0.9, "ru": 0.9})]
        alone, settled = choose_languages(window, None)
        # Then what it says of itself is true for each language before it
        assert settled == all(choose_languages(window, before)[0] == alone for before in ("en", "ru", "xx"))


def test_a_language_of_which_there_is_no_sign_does_not_last() -> None:
    assert choose_languages([SURE_EN], "ja") == (["en"], True)


@pytest.mark.parametrize(("factor", "spoken"), [(CHANGE_FACTOR, "ru"), (1.01 * CHANGE_FACTOR, "en")])
def test_a_language_lasts_unless_another_one_is_seven_times_as_probable(factor: float, spoken: str) -> None:
    assert choose_languages([(3.0, {"en": 1.0, "ru": 1 / factor})], "ru") == ([spoken], spoken == "en")


def test_a_short_part_counts_for_less() -> None:
    # Given half a second that sounds like Polish, between English sentences and at their end
    short = (0.5, {"pl": 0.9, "en": 0.01})
    assert choose_languages([SURE_EN, short, SURE_EN], None)[0] == ["en", "en", "en"]
    assert choose_languages([SURE_EN, short], None)[0] == ["en", "en"]
    # Then a sentence that sounds like it is Polish
    assert choose_languages([SURE_EN, (3.0, short[1])], None)[0] == ["en", "pl"]


def test_the_best_of_poor_evidence_is_taken() -> None:
    assert choose_languages([(3.0, {"en": 2e-4, "ru": 3e-4})], None)[0] == ["ru"]
