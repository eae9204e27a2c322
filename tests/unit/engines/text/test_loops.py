import pytest
from natscribe.schemas.transcription import Word

from app.engines.text.loops import is_loop, without_repeated_end

READING = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of light."
)
RUSSIAN = (
    "Нажмите один для включения режима записи. Нажмите два для перехода к быстрому воспроизведению. Нажмите семь для "
    "пошагового перехода назад. Нажмите восемь для пошагового перехода вперёд."
)
GREETING = "Press 1 to record your temporary greeting. The conference is now locked. To reset the volume, "
VERSE = ["this", "verse", "is", "said", "again", "as", "in", "a", "song"]


def looping(text: str) -> bool:
    return is_loop(text.split(), 30.0)


@pytest.mark.parametrize("text", [READING, RUSSIAN, "No, no, no!", "", "yes"])
def test_natural_speech_is_no_loop(text: str) -> None:
    assert not looping(text)


@pytest.mark.parametrize(
    "text",
    ["and so " * 4, "После чего нажмите решётку. " * 5, "Well then. " + "I know. " * 6, "no " * 9, GREETING * 2],
)
def test_the_same_phrase_again_and_again_is_one(text: str) -> None:
    assert looping(text)


def test_marks_and_capitals_hide_no_loop() -> None:
    assert looping("Thank you. thank you, Thank YOU! thank you")


def test_a_verse_that_returns_once_is_no_loop_but_sixty_words_are() -> None:
    assert not is_loop(VERSE * 2, 30.0)
    assert is_loop(VERSE * 3, 30.0)
    assert is_loop([f"{number}" for number in range(60)] * 2, 30.0)


def test_more_text_than_anybody_can_speak_is_a_loop() -> None:
    # Given words of thirty characters, when they take a second, then they can be spoken; in less time they cannot
    words = ["incomprehensibilities", "questions"]
    assert not is_loop(words, 1.0)
    assert is_loop(words, 0.99)


def timed(text: str, start: float, seconds: float) -> list[Word]:
    """Words that take these seconds, each as long as the others."""
    texts = text.split()
    step = seconds / len(texts)
    return [
        Word(start=start + at * step, end=start + (at + 1) * step, word=f" {word}", probability=0.9)
        for at, word in enumerate(texts)
    ]


def test_a_repeated_sentence_without_time_for_it_is_removed() -> None:
    once = timed("Thank you. Say your name after the tone.", 0.5, 8.0)
    assert without_repeated_end([*once, *timed("say your name, after the tone", 8.6, 0.1)]) == once


def test_a_sentence_spoken_twice_stays() -> None:
    # Given a sentence that is spoken twice, the second time with two quick words and a slow one
    again = [*timed("Please try", 2.0, 0.05), *timed("again.", 2.05, 0.95)]
    twice = [*timed("Please try again.", 0.5, 1.0), *again]
    assert without_repeated_end(twice) == twice


@pytest.mark.parametrize("echo", ["No no", "your name after the tune"])
def test_quick_words_that_are_no_sentence_again_stay(echo: str) -> None:
    words = [*timed("No no your name after the tone", 0.5, 2.0), *timed(echo, 2.6, 0.05)]
    assert without_repeated_end(words) == words
