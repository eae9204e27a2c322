"""The numbers of a text in digits: what is written so, and what remains in words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engines.text.numbers.digits import in_digits
from app.engines.text.numbers.lexicon import lexicon
from tests.truth.numbers import NumberText, number_texts

LANGUAGES = ["en", "ru"]


def written(text: str, language: str | None) -> str:
    for replacement in reversed(in_digits(text, language)):
        text = f"{text[: replacement.start]}{replacement.text}{text[replacement.end :]}"
    return text


@pytest.mark.parametrize(
    ("language", "item"), [(language, item) for language in LANGUAGES for item in number_texts(language, "tuned")]
)
def test_numbers_become_digits(language: str, item: NumberText) -> None:
    assert written(item.text, language) == item.digits


@pytest.mark.parametrize("language", LANGUAGES)
def test_most_numbers_of_texts_that_no_rule_was_tuned_to_become_digits(language: str) -> None:
    texts = number_texts(language, "held_out")
    right = sum(written(item.text, language) == item.digits for item in texts)
    assert right >= 0.95 * len(texts)


@pytest.mark.parametrize("text", ["My number is 5, 5, 5, 0, 1.", "Das ist 5-5-5-0-1.", "5 5 5 0 1"])
@pytest.mark.parametrize("language", ["de", None])
def test_digits_one_by_one_become_one_number_in_all_languages(language: str | None, text: str) -> None:
    assert "55501" in written(text, language)


def words_of(language: str) -> st.SearchStrategy[str]:
    terms = sorted(
        {*lexicon(language).numerals, "and", "oh", "double", "point", "a", "May", "целых", "5", "12", "word"}
    )
    marks = st.sampled_from([" ", ", ", "-", ". ", " (", ") ", ""])
    return st.lists(st.tuples(st.sampled_from(terms), marks), max_size=12).map(
        lambda pairs: "".join(part for pair in pairs for part in pair)
    )


@given(language=st.sampled_from([*LANGUAGES, "fr", None]), text=words_of("en") | words_of("ru") | st.text())
def test_no_text_is_an_error(language: str | None, text: str) -> None:
    # When any text is read, then the replacements are in order, apart, and not empty
    replacements = in_digits(text, language)
    ends = [0, *(replacement.end for replacement in replacements)]
    assert all(end <= item.start < item.end <= len(text) for end, item in zip(ends, replacements, strict=False))
    assert all(item.text for item in replacements)


@given(language=st.sampled_from(LANGUAGES), text=words_of("en") | words_of("ru"))
def test_numbers_in_digits_remain_as_they_are(language: str, text: str) -> None:
    once = written(text, language)
    assert written(once, language) == once


@given(language=st.sampled_from(LANGUAGES), text=st.text(alphabet="abcdefghijклмнп ,.-'"))
def test_a_text_without_numbers_is_not_changed(language: str, text: str) -> None:
    assert in_digits(text, language) == []
