"""The digits that are spoken or written in a text, and where they are."""

import pytest

from app.engines.text.numbers.reading import spoken_digits

ENGLISH = {
    "call four one one one now": [("four one one one", "4111")],
    "it is double five, oh, three": [("double five", "55"), ("three", "3")],
    "five oh two": [("five oh two", "502")],
    "Oh, I see one": [("one", "1")],
    "one, two, three": [("one, two, three", "123")],
    "forty-one eleven and 1111": [("forty-one eleven", "4111"), ("1111", "1111")],
    "two hundred and five": [("two hundred and five", "205")],
    "nine hundred four six one": [("nine hundred four six one", "900461")],
    "the twenty-first of May": [("twenty-first", "21")],
    "(415) 555-0199": [("415) 555-0199", "4155550199")],
    "4, 8, 6, 2, 0": [("4, 8, 6, 2, 0", "48620")],
    "three point one four": [("three point one four", "314")],
    "nothing here": [],
    "": [],
}
RUSSIAN = {
    "восемь девятьсот шестнадцать": [("восемь девятьсот шестнадцать", "8916")],
    "Звоните: восемь, девятьсот шестнадцать.": [("восемь, девятьсот шестнадцать", "8916")],
    "к двумстам пятидесяти пяти": [("двумстам пятидесяти пяти", "255")],
    "один из трёх": [("один", "1"), ("трёх", "3")],
    "сорок пять ноль восемь": [("сорок пять ноль восемь", "4508")],
    "двадцать первого мая": [("двадцать первого", "21")],
}


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [(language, *item) for language, table in (("en", ENGLISH), ("ru", RUSSIAN)) for item in table.items()],
)
def test_digits_are_read_where_they_are(language: str, text: str, expected: list[tuple[str, str]]) -> None:
    assert [(text[run.start : run.end], run.digits) for run in spoken_digits(text, language)] == expected


@pytest.mark.parametrize("language", ["fr", None])
def test_other_languages_have_only_digits(language: str | None) -> None:
    assert [run.digits for run in spoken_digits("six fois 5 0 1", language)] == ["501"]
