"""Names of persons are found by the real models, in English and Russian."""

import sys
from collections.abc import Sequence

import pytest
from natscribe.schemas.redaction import EntityType, Redaction, Replacement

from app.engines.text.redaction.persons import PersonFinder, check_models, same_person
from app.engines.text.redaction.redaction import redacted
from app.runtime.errors import PermanentError


@pytest.fixture(scope="module")
def finder() -> PersonFinder:
    return PersonFinder()


def names(finder: PersonFinder, text: str, language: str | None = None) -> list[str]:
    return [text[start:end] for found in finder.find(text, language) for start, end in found.spans]


def numbered(finder: PersonFinder, text: str, types: Sequence[EntityType] = (EntityType.PERSON,)) -> str:
    return redacted(text, None, types, Replacement.NUMBERED, finder.find(text, None)).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, my name is John Smith.", ["John Smith"]),
        ("Tell Sarah and Dave that Mr. O'Connor is waiting.", ["Sarah", "Dave", "O'Connor"]),
        ("This is Brooke speaking.", ["Brooke"]),
        ("Меня зовут Марина Сергеевна.", ["Марина Сергеевна"]),
        ("Я говорила с Иваном Петровым, Петров обещал.", ["Иваном Петровым", "Петров"]),
        ("Лидия, вы меня слышите?", ["Лидия"]),
        ("Позовите Кузнецову Ольгу, пожалуйста.", ["Кузнецову Ольгу"]),
        ("Оператор: С кем я говорю? Клиент: Анна-Мария Котова.", ["Анна-Мария Котова"]),
        ("Иван: Да, это Марина.\nMary: Yes, this is John Brown.", ["Иван", "Марина", "Mary", "John Brown"]),
    ],
)
def test_names_of_persons_are_found(finder: PersonFinder, text: str, expected: list[str]) -> None:
    assert names(finder, text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "I flew from Boston to Denver on Monday.",
        "Thank you for calling, how can I help?",
        "The Windows update broke my printer in May.",
        "Поезд из Екатеринбурга в Самару отменили в среду.",
        "Назовите ИНН компании, пожалуйста.",
        "Позвоните завтра в Сбербанк.",
        "",
        " \n ",
    ],
)
def test_other_words_are_no_names(finder: PersonFinder, text: str) -> None:
    assert names(finder, text) == []


def test_a_language_without_a_model_has_no_names(finder: PersonFinder) -> None:
    assert names(finder, "Ich heiße John Smith.", "de") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Меня зовут Марина. Позовите Марину, у Марины заказ. Это Иван.",
            "Меня зовут [PERSON_1]. Позовите [PERSON_1], у [PERSON_1] заказ. Это [PERSON_2].",
        ),
        (
            "This is John Smith speaking. Mr. Smith called, so tell Sarah.",
            "This is [PERSON_1] speaking. Mr. [PERSON_1] called, so tell [PERSON_2].",
        ),
    ],
)
def test_a_person_has_one_number_in_all_cases_and_by_parts_of_the_name(
    finder: PersonFinder, text: str, expected: str
) -> None:
    assert numbered(finder, text) == expected


def test_another_type_is_more_certain_than_a_name_in_it(finder: PersonFinder) -> None:
    text = "Write to john.smith@example.com, or ask for John."
    assert numbered(finder, text, list(EntityType)) == "Write to [EMAIL_1], or ask for [PERSON_1]."


@pytest.mark.parametrize(
    ("name", "known", "same"),
    [
        ("smith", ["john smith"], "john smith"),
        ("john smith", ["smith"], "smith"),
        ("john smith", ["john brown"], None),
        ("марин/марина котов", ["иван", "марина"], "марина"),
        ("александр", ["анна", "александр/александра"], "александр/александра"),
        ("john", [], None),
    ],
)
def test_one_person_has_all_words_of_the_other_name(name: str, known: list[str], same: str | None) -> None:
    assert same_person(name, known) == same


def test_without_the_models_only_a_task_that_needs_them_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service without the extra
    monkeypatch.setitem(sys.modules, "slovnet", None)
    # Then rules work alone
    check_models(None)
    check_models(Redaction.model_validate({"entities": ["pci", "contact"]}))
    # And names fail with what to install, also among all types
    for entity in ("person", "all"):
        with pytest.raises(PermanentError, match=r"\[names\]"):
            check_models(Redaction.model_validate({"entities": [entity]}))
