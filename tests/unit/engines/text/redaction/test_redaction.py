"""Personal data in a text is found by rules, however it is written or spoken, and replaced."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from natscribe.schemas.redaction import EntityGroup, EntityType, Redacted, Redaction, Replacement

from app.engines.text.redaction.redaction import redacted


def redact(text: str, language: str | None = "en", **fields: object) -> Redacted:
    redaction = Redaction.model_validate({"entities": ["all"]} | fields)
    return redacted(text, language, redaction.types, redaction.replace)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My card is 4111 1111 1111 1111.", "My card is [CARD]."),
        ("My card is 4, 1, 1, 1-1-1-1-1 1111, 1111.", "My card is [CARD]."),
        ("card: four double one one, one one one one 1111 oh one two three", "card: [CARD]"),
        ("The security code is one two three.", "The security code is [CARD]."),
        ("Call (555) 123-4567 now.", "Call [PHONE] now."),
        ("Call eight hundred five five five, one two three four.", "Call [PHONE]."),
        ("Write to john.smith@example.com, please.", "Write to [EMAIL], please."),
        ("It is j o h n dot smith at gmail dot com.", "It is [EMAIL]."),
        ("My email is john.smith.at.example.com, or look at example.com.", "My email is [EMAIL], or look at [URL]."),
        ("Mail me the page, it is john.smith.gmail.com or www.gmail.com.", "Mail me the page, it is [EMAIL] or [URL]."),
        ("The IBAN is DE89 3704 0044 0532 0130 00.", "The IBAN is [BANK_ACCOUNT]."),
        ("account 12345678, routing 021000021", "account [BANK_ACCOUNT], routing [BANK_ACCOUNT]"),
        ("My social is 123-45-6789.", "My social is [NATIONAL_ID]."),
        ("We live at 12 Oak Street, Apt 5, since May.", "We live at [ADDRESS], since May."),
        ("Date of birth: the third of May, nineteen seventy.", "Date of birth: [DATE_OF_BIRTH]."),
        ("See you on 12/05/2026, at 10:30.", "See you on [DATE], at 10:30."),
        ("Look at www.example.com/a?b, or at example dot org.", "Look at [URL], or at [URL]."),
        ("The user name is jsmith, not Smith.", "The user name is [USERNAME_PASSWORD], not Smith."),
        ("The password is Xy7-q!", "The password is [USERNAME_PASSWORD]!"),
        ("Order 482913.", "Order [NUMBER]."),
        ("I was born on 12 Jan 1985.", "I was born on [DATE_OF_BIRTH]."),
        ("DOB: Jan. 12, 1985", "DOB: [DATE_OF_BIRTH]"),
        ("I was born on 3 / 4 / 1985 or in 1985.", "I was born on [DATE_OF_BIRTH] or in [DATE_OF_BIRTH]."),
        (
            "Date of birth 19850304, passport number C01X00T47.",
            "Date of birth [DATE_OF_BIRTH], passport number [NATIONAL_ID].",
        ),
        ("My passport is AB1234567.", "My passport is [NATIONAL_ID]."),
        ("We live at 12 adams street and 7 mystic lane now.", "We live at [ADDRESS] and [ADDRESS] now."),
        ("See HTTP://EXAMPLE.COM/x, Www.Foo.Com or foo.com:8080/x?y=1 now.", "See [URL], [URL] or [URL] now."),
        ("I work at foo.com and I'm at home.Call me.", "I work at [URL] and I'm at home.Call me."),
        (
            "The password is incorrect, so a password reset is required.",
            "The password is incorrect, so a password reset is required.",
        ),
        ("The caller paid 15000 dollars.", "The caller paid [NUMBER] dollars."),
        (
            "My account number is 7, nerd, 7, 7, 7, 8, ring, 8, 8, 0. I opened it.",
            "My account number is [BANK_ACCOUNT]. I opened it.",
        ),
        ("The account is win, seven, win. four, zero, five, four, two.", "The account is win, [BANK_ACCOUNT]."),
        ("I live at 77 Oak Street. Order: 482913.", "I live at [ADDRESS] Order: [NUMBER]."),
    ],
)
def test_english(text: str, expected: str) -> None:
    assert redact(text).text == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Карта: 2200 1234 5678 9010.", "Карта: [CARD]."),
        ("Карта четыре один один один 1111 одиннадцать одиннадцать 1111", "Карта [CARD]"),
        ("Звоните: восемь девятьсот шестнадцать сто двадцать три сорок пять шестьдесят семь.", "Звоните: [PHONE]."),
        ("Мой телефон +7 (916) 123-45-67.", "Мой телефон [PHONE]."),
        ("Почта иван точка петров собака яндекс точка ру.", "Почта [EMAIL]."),
        (
            "Напишите, пожалуйста, на ivan.petrov.corp.ru или зайдите на corp.ru.",
            "Напишите, пожалуйста, на [EMAIL] или зайдите на [URL].",
        ),
        ("Счёт 40817810099910004312, БИК 044525225.", "Счёт [BANK_ACCOUNT], БИК [BANK_ACCOUNT]."),
        ("ИНН 500100732259, СНИЛС 112-233-445 95.", "ИНН [NATIONAL_ID], СНИЛС [NATIONAL_ID]."),
        ("Паспорт 45 12 номер 345678", "Паспорт [NATIONAL_ID] номер [NATIONAL_ID]"),
        ("Паспорт сорок пять двенадцать, триста сорок пять шестьсот семьдесят восемь", "Паспорт [NATIONAL_ID]"),
        ("Живу на улице Ленина, дом 5, квартира 12.", "Живу на [ADDRESS]."),
        ("Родился третьего мая 1970 года.", "Родился [DATE_OF_BIRTH]."),
        (
            "Дата рождения 12 03 1985, родилась 12 апр. 1985.",
            "Дата рождения [DATE_OF_BIRTH], родилась [DATE_OF_BIRTH].",
        ),
        ("Логин ivanov, пароль Qwe123.", "Логин [USERNAME_PASSWORD], пароль [USERNAME_PASSWORD]."),
    ],
)
def test_russian(text: str, expected: str) -> None:
    assert redact(text, "ru").text == expected


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("de", "null eins sieben zwei, drei vier fünf sechs"),
        ("es", "seis uno dos tres cuatro cinco seis siete"),
        ("fr", "zéro six, un deux trois quatre"),
        ("it", "tre quattro otto nove uno due"),
        ("xx", "four two one seven"),  # an unknown language: English and Russian words, and digits
    ],
)
def test_spoken_digits_of_other_languages(language: str, text: str) -> None:
    assert redact(text, language).text == "[NUMBER]" or redact(text, language, entities=["phone"]).text == "[PHONE]"


@pytest.mark.parametrize("digits", ["4111 1111 1111 111", "4111 1111 1111 11112", "4111 1111 1111 1112"])
def test_a_digit_that_is_missing_doubled_or_wrong_hides_no_card(digits: str) -> None:
    assert redact(f"I pay with {digits}.", entities=["card"]).text == "I pay with [CARD]."


def test_a_number_goes_on_over_turns_and_corrections() -> None:
    # Given a number in four turns, with a correction and a doubt of the other one
    text = (
        "Agent: The card number?\nCaller: four one one one\nAgent: Okay.\n"
        "Caller: 2222, no, sorry, 2232\nAgent: Go on.\nCaller: 3333 4444"
    )
    # When it is redacted
    reply = redact(text, entities=["pci"], replace="numbered")
    # Then each part has the number of one card
    assert reply.text == (
        "Agent: The card number?\nCaller: [CARD_1]\nAgent: Okay.\nCaller: [CARD_1]\nAgent: Go on.\nCaller: [CARD_1]"
    )


def test_two_numbers_are_two() -> None:
    reply = redact("Call 555 123 4567 and 555 765 4321, or 555 123 4567.", entities=["phone"], replace="numbered")
    assert reply.text == "Call [PHONE_1] and [PHONE_2], or [PHONE_1]."


def test_only_what_is_asked_for_is_replaced() -> None:
    text = "Call 555-123-4567 or write to a@b.com."
    assert redact(text, entities=["email"]).text == "Call 555-123-4567 or write to [EMAIL]."
    assert redact(text, entities=["contact"], replace="mask").text == "Call #### or write to ####."


@pytest.mark.parametrize("type_", ["card", "phone", "bank_account", "national_id"])
def test_what_is_said_digit_by_digit_may_be_any_number(type_: str) -> None:
    # Given a number of which the recognizer has lost more than half
    text = "I'd like to pay with three, six, 7, nine, one, six, zero, if that works."
    # Then it is replaced, whichever type is asked for
    assert redact(text, entities=[type_]).text == f"I'd like to pay with [{type_.upper()}], if that works."
    # But not digits that are written as one, or few
    for other in ("I have 3679160 of them.", "I need three, six, or seven of them."):
        assert redact(other, entities=["card"]).text == other


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "I waited twenty five minutes, and one of the two doors was open at 10:30."),
        ("en", "No, two of them are broken and one is missing. Look at this, the first of four."),
        ("en", "In one month we may march to the second park on the way. My password expired."),
        ("en", "The login of a friend. Read the stream at its start. It is long."),
        ("ru", "Я ждал двадцать пять минут, нет, тридцать. Первый раз из двух получилось."),
    ],
)
def test_other_words_stay(language: str, text: str) -> None:
    assert redact(text, language).text == text


def test_groups() -> None:
    assert EntityGroup.ALL.types == frozenset(EntityType)
    assert EntityGroup.PCI.types | EntityGroup.CONTACT.types < EntityGroup.ALL.types


WORDS = st.sampled_from(
    "one two;double four;oh;1;4111;@;at;dot;.;,;\n;a:;okay;no;may;12;улица;дом;точка;собака;пароль;card".split(";")
)


@given(st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=60), st.sampled_from(Replacement))
def test_what_is_replaced_is_in_order_and_nothing_else_changes(text: str, replace: Replacement) -> None:
    reply = redact(text, None, replace=replace)
    places = [(entity.start, entity.end) for entity in reply.entities]
    assert all(0 <= start < end <= len(text) for start, end in places)
    assert all(before[1] <= after[0] for before, after in pairwise(places))
    expected = text
    for entity in reversed(reply.entities):
        expected = expected[: entity.start] + replace.of(entity.type, entity.number) + expected[entity.end :]
    assert reply.text == expected
