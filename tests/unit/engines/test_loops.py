import pytest

from app.engines.loops import loops

READING = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of light."
)
RUSSIAN = (
    "Нажмите один для включения режима записи. Нажмите два для перехода к быстрому воспроизведению. Нажмите семь для "
    "пошагового перехода назад. Нажмите восемь для пошагового перехода вперёд."
)


@pytest.mark.parametrize("text", [READING, RUSSIAN, "No, no, no!", "", "yes"])
def test_what_people_say_is_no_loop(text: str) -> None:
    assert not loops(text.split())


@pytest.mark.parametrize(
    "text", ["and so " * 4, "После чего нажмите решётку. " * 5, "Well then. " + "I know. " * 6, "no " * 9]
)
def test_the_same_phrase_again_and_again_is_one(text: str) -> None:
    assert loops(text.split())


def test_marks_and_capitals_hide_no_loop() -> None:
    assert loops(["Thank", "you.", "thank", "you,", "Thank", "YOU!", "thank", "you"])


def test_a_long_phrase_that_returns_twice_is_no_loop() -> None:
    verse = ["this", "verse", "is", "said", "again", "as", "in", "a", "song"]
    assert not loops(verse * 3)
    assert loops(verse * 4)
