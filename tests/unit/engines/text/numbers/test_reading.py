"""The numbers of a text: where they are, and what they are in digits."""

import pytest

from app.engines.text.numbers.reading import Number, Tokens, read

ENGLISH = {
    "call four, one now": [("four", "4"), ("one", "1")],
    "it is double five, oh, three": [("double five", "55"), ("three", "3")],
    "five oh two": [("five", "5"), ("oh", "0"), ("two", "2")],
    "Oh, I see one": [("one", "1")],
    "forty-one eleven and 1111": [("forty-one", "41"), ("eleven", "11"), ("1111", "1111")],
    "two hundred and five": [("two hundred and five", "205")],
    "between two hundred and five": [("two hundred", "200"), ("five", "5")],
    "nine hundred four six one": [("nine hundred", "900"), ("four", "4"), ("six", "6"), ("one", "1")],
    "two hundred and twenty-five thousand": [("two hundred and twenty-five thousand", "225000")],
    "two million three": [("two million three", "2000003")],
    "two million people": [("two", "2")],
    "nine hundred ninety-nine billion": [("nine hundred ninety-nine", "999")],
    "the twenty-first of May": [("twenty-first", "21")],
    "a thirty second break": [("thirty", "30"), ("second", "2")],
    "(415) 555": [("415", "415"), ("555", "555")],
    "three point one four": [("three point one four", "3.14")],
    "3.14, 10:15, 1,200 and 21st": [],
    "seventy\nfive": [("seventy", "70"), ("five", "5")],
    "nothing here": [],
    "": [],
}
RUSSIAN = {
    "восемь девятьсот шестнадцать": [("восемь", "8"), ("девятьсот шестнадцать", "916")],
    "к двумстам пятидесяти пяти": [("двумстам пятидесяти пяти", "255")],
    "тремя тысячами четырьмястами пятью": [("тремя тысячами четырьмястами пятью", "3405")],
    "один из трёх": [("один", "1"), ("трёх", "3")],
    "сорок пять ноль восемь": [("сорок пять", "45"), ("ноль", "0"), ("восемь", "8")],
    "двадцать первого мая": [("двадцать первого", "21")],
    "в две тысячи двадцать шестом": [("две тысячи двадцать шестом", "2026")],
    "к двухтысячному": [("двухтысячному", "2000")],
    "две целых и пять сотых": [("две целых и пять сотых", "2,05")],
    "пять целых яблок": [("пять", "5")],
    "тысяча и одна": [("тысяча", "1000"), ("одна", "1")],
    "миллион": [],
    "на 21-м этаже": [],
}


def numbers(text: str, language: str | None) -> list[Number]:
    return list(read(Tokens(text, language)))


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [(language, *item) for language, table in (("en", ENGLISH), ("ru", RUSSIAN)) for item in table.items()],
)
def test_numbers_are_read_where_they_are(language: str, text: str, expected: list[tuple[str, str]]) -> None:
    assert [(text[number.start : number.end], number.digits) for number in numbers(text, language)] == expected


@pytest.mark.parametrize("language", ["fr", None])
def test_other_languages_have_only_digits(language: str | None) -> None:
    assert [number.digits for number in numbers("six fois 5 0 1", language)] == ["5", "0", "1"]
